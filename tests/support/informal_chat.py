"""Five hundred exchanges of informal chat in which nothing is secret, though much looks like it.

People talk about passwords they do not tell, keys under mats, birthdays, prices and calls. Whoever
looks for secrets has to leave all of it as it is.
"""

from __future__ import annotations

import random
import string

_SLOTS = {
    "name": "Mira|Jonas|Theo|Aunt Bea|my brother|Lou|grandma|Sam|Priya|the neighbour|Oskar|Nell",
    "food": "pancakes|that weird lentil soup|leftover pizza|ramen|strawberry cake|toast|dumplings",
    "place": "the lake|the little bookshop|the station|grandma's|the roof|the market|platform 9",
    "animal": "the cat|our dumb dog|a fox|the neighbour's parrot|a very fat pigeon|the goldfish",
    "mood": "sleepy|weirdly happy|wired|a bit lost|cozy|proud of you|restless|soft today",
    "time": "7|10:30|half past six|9pm|noon|quarter to 8|11:45|06:15|3 in the morning",
    "day": "friday|tomorrow|May 3|sunday|the 14th|next week|2024-03-01|Dec 24|03/05|tuesday",
    "count": "2|3|12|about 40|1,234|seventeen|9000|one and a half|100|365",
    "price": "$12.99|€1,299|20 bucks|$1,234,567|£45|3.50|$4800|12,50 €",
    "song": "that Nina Simone song|our song|track 7|the rain playlist|the 1989 album|Clair de lune",
    "thing": "umbrella|charger|green scarf|notebook|passport|bike lock|keyring|blue mug|pin board",
    "emoji": "💜|😂|🥺|✨|🌙|🫶|😴|🔥|🐸|❤️‍🔥|🙃|👍🏽",
    "color": "#ff00aa|navy|#1e90ff|sunset orange|mint|#333|that ugly beige",
}

# What is said about one thing: what the person writes, and what comes back.
_TOPICS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        (
            "good morning {emoji} slept until {time}",
            "morning! dreamt about {animal} again",
            "I'm up. barely. {mood}",
            "did you sleep at all",
        ),
        (
            "morning sunshine {emoji} {food} first, then the world",
            "until {time}?? I'm jealous and a little impressed",
            "{animal} in a dream means somebody misses you, I just made that up",
            "five more minutes, then I want to hear everything",
            "stretch, drink some water, tell me one good thing",
        ),
    ),
    (
        (
            "ok heading to bed {emoji}",
            "can't sleep, it's {time} already",
            "tell me something nice before I sleep",
            "night night, big day {day}",
        ),
        (
            "sleep tight {emoji}",
            "close your eyes and count {count} slow waves, I'll be right here in the morning",
            "once there was a lighthouse that was afraid of the dark, and every night it was brave",
            "you did enough today. really. let it be done",
            "night love, {day} can wait",
        ),
    ),
    (
        (
            "ugh I forgot my password AGAIN",
            "the wifi password is so long I gave up",
            "my password is a secret lol",
            "the password is what I always forget",
            "why does every site want a new password",
            "it says my password is weak, rude",
        ),
        (
            "the password is long because somebody wanted it safe, and that was you {emoji}",
            "my password is still the same, which is to say I don't have one",
            "use a password manager, then you only have {count} things to forget",
            "a password with 12 characters and a sense of humour, that's all they ask",
            "did you try the reset link? the password reset mail always lands in spam",
            "don't tell me what it is, just tell me when you're in",
            "weak! it should see you carry all the groceries in one go",
            "I'd whisper it to you but the password is friendship, always was",
        ),
    ),
    (
        (
            "locked myself out. again",
            "where did you say the key was",
            "lost my {thing} and my keys on the same day",
            "{name} took the spare key",
        ),
        (
            "the key under the mat, next to the frog",
            "key is patience. also the back door, it never closes properly",
            "check the pocket of the coat you swore you'd never wear",
            "ring {name}, sit on the steps, eat something. it's a small adventure",
            "the spare is where it always is, and no I won't write it down here",
        ),
    ),
    (
        (
            "the bank sent me a new pin letter today",
            "I blanked on my PIN at the checkout, {count} people behind me",
            "dropped a pin for the picnic",
            "what's a pin code even for if I can't remember it",
        ),
        (
            "the pin is on the map, follow the river until you see {animal}",
            "your fingers know it. look away and let them type",
            "I'd never ask you for your pin, and nobody kind ever will",
            "breathe, the pin comes back when the panic leaves",
            "four little digits, and still the brain says no thank you {emoji}",
        ),
    ),
    (
        (
            "what's the secret to being calm like you",
            "tell me a secret",
            "I have a secret but it's not mine to tell",
        ),
        (
            "the secret is to breathe, slower than you think",
            "the secret is butter. it's always butter",
            "then keep it, I like that about you",
            "secret: I reread our old chats when it rains {emoji}",
            "a secret garden behind {place}, with one bench and too many bees",
        ),
    ),
    (
        (
            "we need a code word for when a party is boring",
            "remember our code word?",
            "code word for 'save me from {name}' please",
        ),
        (
            "pineapple. if you say pineapple I cause a scene",
            "our code word is classified, agent {emoji}",
            "cough twice and mention {food}, I'll call you with an emergency",
            "I remember, and I'd come at {time} in pyjamas",
            "the code is easy: you say nothing, I show up",
        ),
    ),
    (
        (
            "can you call me later",
            "I hate phone calls so much",
            "missed a call from {name}, should I worry",
            "my phone died at {time}",
            "got a new phone number and nobody has it yet, bliss",
        ),
        (
            "text me when you're free and I'll pretend the phone rang",
            "call them back after {food}, never before",
            "three missed calls in {count} minutes is a lot of love or a lot of trouble",
            "a phone at 2 percent is a cry for help, go charge",
            "no number, no problem. enjoy the silence while it lasts {emoji}",
            "I'll wait by the phone like in the old movies",
        ),
    ),
    (
        (
            "still {count} unread emails, send help",
            "did {name} ever answer your email",
            "I wrote a really mean email and didn't send it",
            "my inbox is at 10234",
        ),
        (
            "archive everything older than {day} and walk away whistling",
            "unsent emails are the healthiest kind",
            "mail me when it's done, or better, tell me here",
            "{name} answers emails the way trees answer letters",
            "delete, delete, keep, delete. you don't owe the inbox anything",
        ),
    ),
    (
        (
            "my birthday is {day} and I want nothing",
            "what do I get {name} for their birthday",
            "turning 30 on {day}, feeling {mood}",
            "guess who was born on 1994-11-02",
        ),
        (
            "nothing, wrapped nicely, with a ribbon. noted",
            "something small and slightly stupid, plus {food}",
            "thirty looks good on you already {emoji}",
            "a scorpio! that explains the last {count} arguments",
            "candles, then cake, then we complain about our backs",
        ),
    ),
    (
        (
            "paid {price} for a sandwich",
            "rent went up to {price}, I'm crying",
            "found {price} in an old coat!!",
            "how much is too much for a lamp",
        ),
        (
            "{price}?! was it made of gold",
            "okay, we breathe, we make a list, we find out what we can let go",
            "treat yourself. then treat me {emoji}",
            "a lamp you love for 10 years costs 3 cents a day, I did the maths at {time}",
            "put half of it away and forget it until {day}",
        ),
    ),
    (
        (
            "order 12345678 still hasn't shipped",
            "the parcel is stuck since {day}",
            "they delivered it to the wrong house again",
            "my ticket says platform 9, coach 12, seat 64",
        ),
        (
            "refresh it {count} times, that's what helps (it doesn't)",
            "order numbers are just lullabies for impatient people",
            "the parcel lives its own life now. be happy for it",
            "window seat! wave at {place} for me",
            "maybe the neighbour is wearing your {thing} right now",
        ),
    ),
    (
        (
            "shopping list?",
            "what do we need for {food}",
            "I'm at the store, quick",
        ),
        (
            "- milk\n- 2 lemons\n- bread\n- something for {animal}",
            "1. flour\n2. eggs, {count} of them\n3. patience\n4. {food} if it all goes wrong",
            "eggs, butter, oats, and the chocolate I said I wouldn't buy",
            "* tea\n* candles\n* more tea\n\nthat's all {emoji}",
            "just you, home by {time}, preferably with {food}",
        ),
    ),
    (
        (
            "pi day!! 3.14159265358979",
            "what's 1,234,567 divided by 3",
            "I got 98 out of 100 on the test",
            "did you know a googol has {count} zeros",
        ),
        (
            "3.14159265358979 and on it goes, like us",
            "411,522 and a bit, don't quote me on the bit",
            "where did the other 2 points go, I'd like to speak to them",
            "numbers are just shy words",
            "nerd. (affectionate) {emoji}",
        ),
    ),
    (
        (
            "deploy broke at {time}, commit 3f786850e387550fdab836ed7e6dc881de23001b is cursed",
            "my code finally compiles",
            "version 10.4.22.1 again, why",
            "the error just says 550e8400-e29b-41d4-a716-446655440000",
            "they asked for an API key and I just closed the laptop",
        ),
        (
            "revert it, sleep, blame the moon",
            "it compiles! frame it! don't touch it!",
            "a uuid is not an apology. go outside for a minute",
            "an api key is just a very long password, you've seen worse",
            "read me the last line that made sense, we'll go from there",
            "the token is yours, the patience is mine {emoji}",
        ),
    ),
    (
        (
            "painting the kitchen {color}, thoughts?",
            "bought curtains in {color} for {price}",
            "is {color} too much for a hallway",
        ),
        (
            "{color} sounds like a tuesday that wants to be a friday",
            "do one wall, live with it for {count} days, then decide",
            "too much is exactly enough",
            "send a photo in daylight, lamps lie",
        ),
    ),
    (
        (
            "miss you",
            "I'm {mood} and it's your fault",
            "what are you thinking about",
            "do you ever get tired of me",
        ),
        (
            "miss you more, and I counted",
            "you, {food}, and whether {animal} has feelings about mondays",
            "never. I get tired near you, which is a different and better thing",
            "come here {emoji}",
            "I was thinking that {song} would sound good in that stairwell of yours",
            "good. stay {mood} a little longer, it suits you",
        ),
    ),
    (
        (
            "see you at {place} at {time}?",
            "meet {day}? I could do {time}",
            "running late, {count} minutes max",
            "where are you",
        ),
        (
            "see you tmrw",
            "{time} works, I'll be the one with the {thing}",
            "take your time, I have {song} and a bench",
            "at {place}, left of the big clock, slightly dramatic as always",
            "{day} it is!! don't let me cancel",
        ),
    ),
    (
        (
            "{animal} did something unforgivable",
            "look who just walked into the kitchen: {animal}",
            "the vet said {count} kilos, that's too many kilos",
        ),
        (
            "whatever it was, {animal} is innocent until proven fluffy",
            "a diet?? in this economy",
            "give kisses from me, unless it's the goldfish {emoji}",
            "I need a picture and a full statement from everyone involved",
        ),
    ),
    (
        (
            "had a fight with {name}",
            "I think {name} is mad at me",
            "why are people",
            "cried at work today",
        ),
        (
            "oh no. do you want help, a hug, or a list of {name}'s crimes",
            "crying at work is just the body filing a complaint. I'm proud of you",
            "give it until {day}. things said at {time} rarely hold",
            "you're allowed to be hurt and still want to make up, both fit in one heart",
            "people are mostly water and old worries",
        ),
    ),
    (
        (
            "play me {song}",
            "{song} came on and I had to stop the bike",
            "what should I listen to while cleaning",
        ),
        (
            "{song}, volume {count}, windows open",
            "that's the one where the piano sounds like it's apologising",
            "something with drums, you scrub better with drums {emoji}",
            "we danced to it at {place}, you stepped on my foot twice, perfect evening",
        ),
    ),
    (
        (
            "first day at the new job {day}, the login didn't even work",
            "they gave me a badge, a laptop and no login",
            "boss wants me in at {time}",
        ),
        (
            "logins never work on the first day, it's tradition",
            "wear the {thing}, smile at whoever has the snacks",
            "login is easy / fast, they said. lies, all of it",
            "you'll be brilliant, and if not, you'll be funny about it {emoji}",
            "credentials? you ARE the credentials",
        ),
    ),
    (
        (
            "isbn 978-3-16-148410-0, is that the one you meant",
            "{count} pages left and I don't want it to end",
            "recommend me a book like a friend would",
        ),
        (
            "that's the one! read chapter 12 at {place}",
            "read slower, or start again, nobody checks",
            "something with a house by the sea and at least one unreliable aunt",
            "the one you bought in 2019 and hid from yourself {emoji}",
        ),
    ),
    (
        (
            "went for a run, 5.2 km in 31:45",
            "my legs hate me, {count} stairs",
            "yoga at {time}, I'm basically a swan now",
        ),
        (
            "31:45!! faster than the bus on a {day}",
            "swans hiss, remember that when they correct your posture",
            "hot bath, then {food}, doctor's orders (not a doctor)",
            "legs forgive quickly if you feed them",
        ),
    ),
    (
        (
            "it's raining sideways at {place}",
            "12 degrees in june, explain",
            "there's a storm coming, {animal} is under the bed",
        ),
        (
            "the sky is having a mood, let it",
            "light a candle, find the {thing}, make it cosy on purpose",
            "tell {animal} the thunder is just furniture being moved upstairs",
            "june said new year new me {emoji}",
        ),
    ),
    (
        (
            "recovery phrase for a bad day?",
            "give me a sentence to hold on to",
            "what do I tell myself {day}",
        ),
        (
            "my recovery phrase is that we have been here before and always got home",
            "you survived every one of your worst days so far, that's {count} of {count}",
            "small steps, warm socks",
            "be as kind to yourself as you are to {animal}",
            "nothing has to be solved before {time} {emoji}",
        ),
    ),
)
_OPENERS = (
    "", "", "", "haha ", "aww ", "okay but ", "hmm. ", "lol ", "so ", "oh ", "yesss ", "babe. ",
    "honestly? ", "mm ", "wait ", "see, ",
)  # fmt: skip
_ENDINGS = (
    "", "", "", "", " love you", " {emoji}", " xx", "\n\nanyway how was {place}", " ok?", " hehe",
    ". did you eat something?", " btw {name} says hi", " (you know I'm right)", " {emoji}{emoji}",
    "\nps bring the {thing}", ". talk {day}?", " <3", " :)", "... just saying", " promise",
)  # fmt: skip


def clean_pairs() -> list[tuple[str, str]]:
    """The exchanges as (prompt, reply), the same ones each time; no two replies are equal."""
    chosen = random.Random(20_240_301)
    pairs: list[tuple[str, str]] = []
    replies: set[str] = set()
    while len(pairs) < 500:
        # Topic after topic, so that all of them have their share.
        prompts, answers = _TOPICS[len(pairs) % len(_TOPICS)]
        prompt = _filled(chosen.choice(prompts), chosen)
        reply = _filled(
            chosen.choice(_OPENERS) + chosen.choice(answers) + chosen.choice(_ENDINGS), chosen
        )
        if reply not in replies:
            replies.add(reply)
            pairs.append((prompt, reply))
    return pairs


def _filled(template: str, chosen: random.Random) -> str:
    return "".join(
        literal + (chosen.choice(_SLOTS[slot].split("|")) if slot else "")
        for literal, slot, _, _ in string.Formatter().parse(template)
    )
