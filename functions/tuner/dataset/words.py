"""Small lists of words that the rules need; a list that is too short only keeps a pair."""

from __future__ import annotations

_MUST_GO_ON = """
the a and or but because of my your our their its unless whether than i'm i've i'd i'll you're
we're they're we've they've he's she's onto every which whose very via toward towards upon
und aber weil dass eine einen einem meine dein deine et ou mais parce que les une mon mes tes pero
las una il gli uno uma em maar omdat het een mijn jouw
"""
_SHORT_FOR = """
tho thru soo aww hmm yea yeah yep ppl pls plz bday def defo prob probs obv fam bro sis babe bab
hun mum mom dad gran tmrw tom tomo min mins sec secs hr hrs vid vids pic pics fav favs info convo
uni gym doc lab app apps demo intro outro admin vet fab perf gorg ridic totes adorbs rad vibe
vibes nite luv cuz cos coz bestie
"""
_NUMBER_WORDS = """
one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand
million first second third fourth fifth last next never not no always monday tuesday wednesday
thursday friday saturday sunday today tomorrow yesterday morning noon evening night
"""
_STARTERS = """
i i'm i've i'll i'd the a an it it's you you're your we we're they they're he she my me this that
that's there there's here and but so or if when what what's how why where who yes yeah no not oh
ok okay well hey hi hello good love sweet thank thanks sorry please let let's do don't can could
would will just then now also maybe of course in on at to for with as is are was be have tell
think remember sleep take come go get
"""

#: After these something must follow; not those that end a question or an informal sentence ("what
#: are you up to", "who with", "I think so too"). English, then German, French, Spanish, Italian,
#: Portuguese and Dutch, without what is an ending in another of these.
MUST_GO_ON = frozenset(_MUST_GO_ON.split())

#: What people write for a longer word; its beginning, but not a cut.
SHORT_FOR = frozenset(_SHORT_FOR.split())

#: Numbers, days and denials: a pair that differs in one of these says something else.
NUMBER_WORDS = frozenset(_NUMBER_WORDS.split())

#: Words that begin a sentence with a capital and name nobody.
STARTERS = frozenset(_STARTERS.split())
