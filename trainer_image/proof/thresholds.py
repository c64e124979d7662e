"""What the gate asks for. Literals, written down before the first run was judged by them.

They are not settings: who could lower them for one run would have no gate. Changing one is a
decision (docs/adr/0010-the-proof.md) that makes older verdicts incomparable: raise VERSION with it.
"""

from __future__ import annotations

#: Of this set of numbers; stands in every proof. 1 told two voices apart by their persona scores,
#: which could not tell a dozen short replies apart; 2 does it by spelling.
VERSION = 2

# -- the evidence ------------------------------------------------------------------------------

#: With fewer kept pairs the part held out is too small to say anything: each pair is predicted by
#: a model that was trained without it, and the recipe is judged. From here on the adapter is.
CROSS_FIT_BELOW_PAIRS = 200
FOLDS = 5
#: Percentile-bootstrap intervals of a nominal 95 % cover 95 % from ten units on, 76 % at three.
MIN_UNITS = 10
#: Below this the intervals are honest and wide: a pass says that the evidence is thin.
THIN_UNITS = 30
#: A fold's group, or a session, with a greater part of the pairs than this would be a fold of its
#: own; the pair is the unit then, as in the dataset's own split.
MAX_GROUP_SHARE = 0.25
#: More held-out pairs than these make no better verdict, and cost time on a rented machine.
MAX_GATE_PAIRS = 300
#: The epoch is chosen on this part of a fold's training pairs, and on no fewer pairs than that.
INNER_SHARE = 0.12
MIN_INNER_PAIRS = 3
#: Two-sided, of every interval.
CONFIDENCE = 0.95
RESAMPLES = 2000

# -- the arms ----------------------------------------------------------------------------------

#: Examples in the prompt of the third arm; 16 do a little better and cost twice the prompt.
EXAMPLES = 8
#: A reply's beginning is enough to hear a persona, or a loop.
MAX_NEW_TOKENS = 40
#: Prompts that every arm replies to.
MAX_PROMPTS = 20
#: Greedy, with the mild penalty on repeating itself that programs which serve such models apply
#: unless told otherwise; the same in every arm. It looks at the reply only, never at the prompt:
#: examples in a prompt would otherwise forbid the persona's own words.
REPETITION_PENALTY = 1.1

# -- pass or hold ------------------------------------------------------------------------------

#: Nats per token that the adapter gains on base + persona prompt: the interval's lower end must
#: be above this. A gate against the bare base proves nothing: a sentence of prompt beats it too.
MIN_DROP = 0.0
#: Part of the pairs whose loss falls against base + persona prompt.
MIN_IMPROVED_SHARE = 0.80
#: A reply that repeats itself more than this percentile of the persona's own replies counts …
REPETITION_PERCENTILE = 95
#: … and this part of an honest persona's replies does, by definition. More than chance allows
#: (the lower end of Wilson's interval above it) is a hold.
REPETITION_EXPECTED_SHARE = 0.05
#: Loss on neutral facts, tuned over base: the interval's lower end may not be above the first;
#: a mean above the second is a warning.
MAX_FORGETTING = 1.30
WARN_FORGETTING = 1.15
#: How many nats per token a reply must cost more under another's prompt than under its own, by
#: the interval's lower end. At 0 the replies do not depend on what was said.
MIN_PROMPT_USE = 0.0
#: A persona with fewer distinct replies than this part of its pairs is a set of canned phrases.
MIN_DISTINCT_REFERENCES = 0.5
#: Replies of no more words than this (median) hold nothing that a prompt could matter to.
EMPTY_TALK_WORDS = 4
#: How often a trained-on reply may be more like the other ones (in spelling) than one that the
#: dataset holds out, and up to which chance (a rank test) that is no accident: beyond both, they
#: are two voices. Persona scores are not used: they are low where replies are few and short.
MAX_VOICE_SEPARATION = 0.9
VOICE_CHANCE = 0.01
#: With fewer held-out pairs nothing is said about the two voices.
MIN_VOICE_PAIRS = 5

# -- the persona score counts only while … -----------------------------------------------------

#: … this part of the replies is distinct, relative to the persona's own replies.
MIN_DISTINCT_RATIO = 0.8
