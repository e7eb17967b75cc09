"""Lists what can happen in a fable: who wants what, what is promised, what becomes of it, and the moral.

Remembered in every tale: the hero `h`, a `z` `b1` (say, a *vain fox*); the friend `f`, a `b2`; the stranger
`o`, a `b3`; the treasure, a `l` `s` `t` (a *squeaky copper kettle*); the village `v`; the witness `w`, and
in `num` whether that is many, it, she or he; the promise `vow`, its day `due` and its fee, `n` times `gift`;
and how it ends, `fate`. Rule of the house: two templates of one list must part at plain characters
(ambiguity.py says why). Templates only, no code: what a slot may say stands in grammar.py, the words stand
in fables_words.py.
"""

from __future__ import annotations

BEGINNING: dict[str, list[str]] = {
    "story": [
        "The {Trait:z} {Beast:b1} and the {Stuff:s} {Thing:t}\n{opening} {neighbour}\n{fair}\n"
        "{scene}\n{B1}: {request}\n{B2}: {terms}\n{B1}: {oath}\n{event} {stranger}\n{B3}: "
        "{temptation}\n{B1}: {doubt}\n{turn}\n{B2}: {question}\n{B1}: {answer@fate}\n{B2}: "
        "{verdict@fate}\n{after@fate} {chorus}\nMoral: {moral@fate}\n\n",
        "A tale of {a trait:z} {beast:b1} and {a stuff:s} {thing:t}\n{opening} {neighbour}\n{fair}\n"
        "{B1}: {request}\n{B2}: {terms}\n{B1}: {oath}\n{event} {event} {turn}\n{scene}\n{B2}: "
        "{question}\n{B1}: {answer@fate}\n{B2}: {verdict@fate}\n{chorus} {after@fate}\nMoral: "
        "{moral@fate}\n\n",
        "How the {beast:b1} borrowed the {thing:t} of {stuff:s}, and why {trait:z} {b1.many} {do}\n"
        "{opening} {neighbour} {scene}\n{B1}: {request}\n{B2}: {terms}\n{B1}: {oath}\n{stranger}\n"
        "{B3}: {temptation}\n{B1}: {doubt}\n{event} {fair}\n{turn}\n{chorus}\n{B2}: {question}\n"
        "{B1}: {answer@fate}\n{after@fate}\nMoral: {moral@fate}\n\n",
    ],
    "opening": [
        "Once there lived in {village:v} {a trait}, {trait} {b1} called {name:h}, who was {trait} at "
        "{hour} and {trait} after {dish}.",
        "In the {weather} village of {village:v}, between the {place} and the {place}, lived "
        "{name:h}, {a trait} {b1} with {count} {limb.many} and {a colour} {limb}.",
        "Long ago, when {food.many} cost {count} {colour} {flower.many} and {dish} was free, {a "
        "trait} {b1} named {name:h} worked as {a trade} in {village:v}.",
        "Nobody in {village:v} was as {trait} or as {trait} as {name:h} the {b1}, {kin} of the {trade}.",
        "Behind the {place} of {village:v}, under {a look} {tree}, {name:h} the {b1} owned {count} "
        "{colour} {thing.many}, {a colour} {thing} and not one {food}.",
        "They say in {village:v} that {name:h} the {b1} was born on {a weather} {hour}, with {a "
        "look} {thing} in one {limb} and {a food} in the other.",
        "Every {hour} the {b1} {name:h} of {village:v} would {do} {manner}, {treat} {h.their} "
        "{thing.many} and eat {count} {colour} {food.many} with {dish}.",
        "When {name:h} the {b1} came to {village:v}, {h.they} had only {a colour} {limb}, {a look} "
        "{thing} and {h.their} {virtue}.",
        "At the {place} near {village:v} {a trait} {b1}, {name:h}, sold {food.many} to {trade.many}, "
        "{dish} to {insult.many} and {look} {thing.many} to anyone {trait}.",
        "Ask the {trade.many} of {village:v} about {vice}, and they {do} {manner} and tell of "
        "{name:h}, the {trait} {b1}.",
        "Of all the {trait} {b1.many} that ever {move.past} through {village:v}, {name:h} was the "
        "most {trait}, except before {feast}.",
        "Before the {place} burned down, {a trait} {b1} by the name of {name:h} was {trade} to the "
        "{rank} of {village:v} and had {a stuff} {thing}.",
        "You will not believe it, but {name:h}, {a trait} {b1} of {village:v}, once {treat.past} "
        "{count} {look} {thing.many} in one {hour}.",
        "Up in {village:v}, where the {tree.many} {sound} and the {flower.many} smell of {dish}, "
        "lived {name:h} the {b1}, {a trait} {trade}.",
    ],
    "neighbour": [
        "Next door lived {name:f} the {beast:b2}, {a trait} {trade}, whose {look:l} {t} of {s} was "
        "the {feeling} of {witness:w}.",
        "The best friend of {h} was {name:f}, {a trait} {beast:b2}, and what {f.they} loved most was "
        "{a look:l} {t}, a present from {witness:w}.",
        "Across the road {name:f} the {beast:b2} {treat.past} {food.many}, and on {f.their} {look} "
        "wall hung {a look:l} {t}, which {witness:w} had admired.",
        "Not far away, beside the {place}, {name:f}, {a trait} {beast:b2}, kept {a look:l} {t}, won "
        "from {witness:w} in a game of {thing.many}.",
        "Upstairs lived {name:f}, a widely {trait} {beast:b2}, who polished {a look:l} {t} every "
        "{hour} and let {witness:w} look at it for {a food}.",
        "There too lived the {trade} {name:f}, {a trait} {beast:b2}, who had dug {a look:l} {t} out "
        "of the {place} together with {witness:w}.",
    ],
    "village": ["{Stem}-{tail}"],
    "witness": [
        "the {count} {beast.many} of the {place}[num=many]",
        "one {trait} {beast} from the {place}[num=it]",
        "old Aunt {Beast} from {stem}-{tail}[num=she]",
        "a whole family of {trait} {beast.many}[num=many]",
        "old Uncle {Beast} from {stem}-{tail}[num=he]",
        "all {trade.many} of the {place}[num=many]",
        "Sir {Beast}, the {trait} {trade}[num=he]",
        "some {trait} {kin.many} of the {trade}[num=many]",
        "Lady {Beast}, the {trait} {trade}[num=she]",
    ],
    "fair": [
        "To the market of {stem}-{tail} came {guests}.",
        "At the {place} that {hour} stood {guests}.",
        "In the street one could see {guests}.",
        "From the {place} to the {place} walked {guests}.",
        "It was {feast}, and {w} had invited {guests}.",
        "All around them sat {guests}.",
    ],
    "guests": [
        "{guest}, {guest} and {guest}",
        "{guest} and {guest}",
        "{guest}, {guest}, {guest} and {guest}",
        "{guest}, {guest}, {guest}, {guest} and {guest}",
    ],
    "guest": [
        "the {trait} {trade} with {count} {look} {food.many}",
        "some {trait} {beast.many} {do.ing} {manner}",
        "that {trait}-looking {kin}, {treat.ing} {colour} {flower.many}",
        "one {trait} {insult} in {a colour} {stuff} {thing}",
        "no less than {a trait} {beast}, smelling of {dish} and {dish}",
        "our {trait} {rank} {name} with {a vessel} of {look} {thing.many}",
        "young {name} {move.ing} {manner} on {a look} {thing}",
    ],
    "scene": [
        "One {weather} {hour} before {feast}, {name} the {trait} {trade} heard the two of them {do} "
        "in front of the {place}.",
        "On {a weather} {hour} {h} came {move.ing} down from the {place} and found {f} among the "
        "{flower.many}, {do.ing} {manner}.",
        "It was {a weather} {hour}; the {thing.many} {sound.past}, the {tree.many} {sound.past}, and "
        "{h} and {f} shared {a food} and some {dish}.",
        "As the {colour} sun rose over the {place}, {h} {move.past} {manner} up to {f} with {a "
        "vessel} of {food.many}.",
        "The {hour} was {weather} and the {place} {sound.past}, when {h} knocked at the {look} door "
        "and {f} opened it, {treat.ing} {a food}.",
        "After {count} {weather} days {h} and {f} met at the {place}, one with {a food}, the other "
        "with {a thing}, both {trait}.",
        "Somewhere {a weather} wind made the {thing.many} {sound}; {h} {say.past} {manner} and {f} "
        "scratched {f.their} {limb}.",
        "While the {trade.many} {treat.past} their {thing.many}, {h} and {f} sat {manner} under the "
        "{tree} and counted {flower.many}.",
        "By {hour} the whole {place} smelled of {dish} and {food.many}, and {h} {move.past} to {f}, "
        "{a limb} in {a colour} {thing}.",
    ],
}

PROMISE: dict[str, list[str]] = {
    "request": [
        "Oh! {cry}! My {kin} the {trait} {trade} is {trait} and I must {move} to the {place}. Lend "
        "me your {s} {t}.",
        "Dear {f}, how {look} your {t} is today! May I borrow it? My own {thing} was eaten by {a "
        "trait} {beast}.",
        "I have {feeling} in my {limb} and {count} {colour} {food.many} to {treat}. Only your {t} "
        "can help me.",
        "Listen, {f}: the {rank} of {stem}-{tail} wants {a look} {t} for {feast}, and yours is the "
        "only one of {s}.",
        "Good {hour}, {f}. Without {a t} like yours I cannot {treat} the {food.many}, and my "
        "{kin.many} {do}.",
        "You are {trait} and I am {trait}, so let us be honest: I dream of your {l} {t}, and then I {do}.",
        "As {a trade} I need {a s} {t} to {treat} {thing.many}. As your friend I ask for it {manner}.",
        "Please, {f}, my {feeling} is as big as {a place}. One {hour} with your {t}, and I shall "
        "{do} no more.",
        "What would you say if {a trait} {b1} borrowed that {t} in order to {treat} {a look} {thing}?",
    ],
    "terms": [
        "Take it, {h}, but you must {promise:vow}.",
        "You may have my {s} {t}, if you promise to {promise:vow}.",
        "Ah! {cry}! {A b1} asks, {a b2} answers. Swear by your {limb} to {promise:vow}, and it is yours.",
        "My {kin} would {do}, but I trust you, {h}. All I want is this: {promise:vow}.",
        "The last {beast} who asked me that was {a insult}. Prove your {virtue} and {promise:vow}.",
        "Hm. I would rather lend you my {limb}. But well, {promise:vow}, and we stay friends.",
        "For {a trait} neighbour everything! The {rank} shall write it down with {a colour} {thing}: "
        "{promise:vow}.",
    ],
    "promise": [
        "bring back the {t} before {feast:due} with {count:n} {look} {food.many:gift}",
        "return the {t} by {feast:due} and pay {count:n} {food.many:gift} for the {feeling}",
        "be home with it before {feast:due}, never {treat} it, and bake {count:n} {food.many:gift} in {dish}",
        "keep it out of the {place}, {treat} it every {hour}, and hand it back by {feast:due} with "
        "{count:n} {food.many:gift}",
        "carry it {manner}, tell no {trade} of it, and give it back by {feast:due} along with "
        "{count:n} {food.many:gift}",
        "leave {a vessel} of {count:n} {food.many:gift} on the doorstep and restore the {t} before "
        "{feast:due}",
        "show it to no {trait} {beast}, and by {feast:due} return it under {count:n} {food.many:gift}",
    ],
    "oath": [
        "I swear by my {colour} {limb}, my {trait} {kin} and my {look} {thing}: I will {vow}!",
        "I promise. May I turn into {a look} {food} if I do not {vow}.",
        "By all {trait} {b1.many} of {v}, you have my word. I will {vow}.",
        "Ask the {trait} {trade}: never yet did {a b1} of {v} break a promise. I will {do}, {treat} "
        "{dish} and be back by {due}.",
        "Done! If I forget it, {trait} {trade.many} may {treat} my {thing.many} and {treat} my "
        "{colour} {limb}.",
        "With {feeling} in my {limb} and {a food} in my {thing} I say it {manner}: so be it, by {due}.",
    ],
}

ROAD: dict[str, list[str]] = {
    "event": [
        "Bravely {h.they} carried on {h.their} {limb} {count} {look} {thing.many}, {a vessel} of "
        "{food.many}, {a colour} {stuff} {thing}, {dish}, {dish} and {a trait} {beast}; behind "
        "{h.them} {sound.past} the {l} {t}.",
        "Past {stem}-{tail} {h.they} {move.past}, past {stem}-{tail}, past {a weather} {place} full "
        "of {trait} {beast.many}, past {trait} {trade.many} {treat.ing} {colour} {food.many}.",
        "First came {a trait} {trade} and {do.past}, then {a trait} {beast} and {do.past}, then "
        "{count} {trait} {kin.many} and {do.past} {manner}; {h} {treat.past} the {t}.",
        "So {h} {move.past} {manner} past the {look} {place}, the {l} {t} on {h.their} {limb}, and "
        "the {colour} {flower.many} {sound.past} in the {weather} {hour}.",
        "On the way {h} met {count} {trait} {beast.many}, who {treat.past} {a look} {thing} and "
        "{do.past} {manner}.",
        "Near the {look} {place} the {t} began to {sound}, which made {a trait} {trade} {do} and "
        "{treat} {a food}.",
        "For {count} days {h.they} {move.past} from {stem}-{tail} to {stem}-{tail} and {treat.past} "
        "{food.many} for {trait} {trade.many}.",
        "One {colour} cloud hung over the {look} {place}; it rained {food.many}, or so the "
        "{beast.many} said, and {h} hid under {a look} {thing}.",
        "At {hour} {h} used the {t} to {treat} {a vessel} of {food.many}, and {do.past} with {feeling}.",
        "The {trait} {trade.many} of {stem}-{tail} {treat.past} the {l} {t}, {do.past}, and offered "
        "{dish} and {count} {look} {food.many} for it.",
        "That {hour} {h} slept {manner} in {a look} {thing} beside the {look} {place}, dreamed of "
        "{dish}, and woke with {a food} in {h.their} {limb}.",
        "Everyone {h} met was {trait}: the {trade} {do.past}, the {beast.many} {do.past}, and even "
        "the {tree.many} {sound.past} {manner}.",
        "In the {look} {place} {a trait} {beast} {say.past} something about {vice}, but {h} only "
        "thought of {dish} and {food.many}.",
        "Twice {h.they} fell into the {look} {place}, and twice {h.they} {treat.past} the {t} first "
        "and {h.their} {limb} afterwards.",
        "It is hard to {move} with {a l} {t} of {s}; {h.their} {limb} {sound.past} and {h.their} "
        "{feeling} grew.",
        "Meanwhile {f} {treat.past} the {thing.many}, ate {a food} with {dish}, and told {w} about "
        "{feeling} and {feeling}.",
        "Then {a weather} storm carried off {count} {look} {thing.many}, {a trait} {trade} and {a "
        "vessel} of {food.many}, but not the {t}.",
        "By {hour} {h.they} reached {stem}-{tail}, where {trait} {trade.many} {do} until {feast} and "
        "{beast.many} {treat} {thing.many}.",
        "Under the {tree} stood {a look} sign: no {beast.many}, no {thing.many}, no {vice}. {H} "
        "{move.past} on.",
        "Oh! {cry}! {say.past} {h}, and {move.past} {manner} through the {look} {place}, for {a "
        "trait} {beast} was {treat.ing} {h.their} {thing}.",
        "Lightning struck {a look} {tree}, and out {move.past} {a trait} {trade}, {treat.ing} {a "
        "colour} {thing}.",
        "Little {beast.many} sang of {dish}, big {beast.many} sang of {feeling}, and {h} {move.past} "
        "along with {a food} behind {h.their} {limb}.",
        "How {trait} {h.they} felt! The {t} {sound.past}, the {look} {place} {sound.past}, and "
        "{h.their} {limb} smelled of {dish}.",
        "Half of {stem}-{tail} came to {treat} the {t}: the {rank}, the {trade}, {count} "
        "{beast.many} and {a trait} {kin}.",
        "There was {a weather} {hour} when {h} had nothing to eat but {a look} {food} and the "
        "{feeling} of {a trade}.",
    ],
    "stranger": [
        "At the {look} {place} {a trait} {beast:b3} called {name:o} sat on {a look} {thing}, "
        "{treat.ing} {count} {look} {food.many}.",
        "Out of the {tree} {move.past} {name:o}, {a trait} {beast:b3} with {a colour} {limb} and {a "
        "vessel} of {dish}.",
        "There {h} ran into {name:o} the {beast:b3}, {a trade} known for {o.their} {vice} and "
        "{o.their} {look} {thing.many}.",
        "Beside {a look} {thing} waited {name:o}, {a trait} {beast:b3}, who {do.past} {manner} and "
        "bowed to the {t}.",
    ],
    "temptation": [
        "What {a look} {t}! I give you {count} {colour} {thing.many} and {a food} for it.",
        "Oh! {cry}! Is that {s}? My {kin}, the {rank} of {stem}-{tail}, would pay {a vessel} of "
        "{thing.many}.",
        "Nobody keeps promises on {a weather} {hour}. Let us {treat} the {t} and share the {food.many}.",
        "Your {b2} is {a trait} {insult} and {do.past} about you at the {look} {place}. Keep the {t}, I say.",
        "I know {a trait} {trade} who can {treat} it so that no {beast} ever sees the {feeling} in it.",
        "Why {move} home? Here we have {dish}, {dish}, {food.many} and {count} {trait} {trade.many} "
        "who {do}.",
        "A promise is only {a look} {thing}. Come, {do} with me until {feast}, and forget {v}.",
    ],
    "doubt": [
        "Hm, {count} {look} {food.many} are {count} {look} {food.many}. But what of {due}, and what "
        "of {gift.many}?",
        "I am {trait}, but not that {trait}. What would {f} {say}?",
        "Oh, my {limb}! My {feeling} says yes and my {virtue} says no.",
        "You speak like {a trade} and smell of {dish}. Let me {do} for {a hour}.",
        "Ah! {cry}, {o}! Do you take me for {a insult}? Show me the {food.many} once more.",
        "Not for {count} {look} {thing.many}! Well, perhaps for {count}. I must {do} first.",
    ],
    "turn": [
        "So {h} {do.past} {manner}, thought of {f}, and {move.past} straight home, where by {due} "
        "{h.they} stood with the {t} and {n} {gift.many}.[fate=kept]",
        "But {h} was too {trait}: {h.they} sold the {t} to {a trait} {trade} for {count} {look} "
        "{food.many} and came home with {a look} {thing}.[fate=sold]",
        "Alas, {h} {do.past} at the {look} {place} until {due} was long over, and crept home "
        "{manner} with the {t}, but with {a food} instead of {n} {gift.many}.[fate=late]",
        "Then, while {h} {do.past}, {a trait} {beast} stole the {t} and {move.past} off over the "
        "{look} {place}; {h} told {f} of it the same {hour}.[fate=stolen]",
        "Yet at the {look} {place} {h} slipped on {a food}, and the {t} broke into {count} {look} "
        "pieces; by {due} {h.they} came home with {a vessel} of {s} and {n} {gift.many}.[fate=broken]",
        "In the end {h.they} {do.past}, {treat.past} the {t} as if it were {h.their} own {kin}, and "
        "was back a day before {due} with the {n} {gift.many} and {a colour} {thing} on "
        "top.[fate=kept]",
        "Now {vice} won: {h} hid the {t} in {a look} {thing} behind the {look} {place} and "
        "{move.past} to {f} after {due} with empty {limb.many}.[fate=hidden]",
    ],
}

RECKONING: dict[str, list[str]] = {
    "question": [
        "There you are, {h}! Did you not promise to {vow}?",
        "It is {hour}, I see {a trait} {b1} and I smell {dish}. Where is my {l} {t}, and where are "
        "the {n} {gift.many}?",
        "Welcome home! I told {w} that you are {trait}, {trait} and never late with {gift.many}. "
        "What shall I tell {them@num} now?",
        "Ha! {cry}! My {limb} told me you were near. Well, {h}, what of {due}, the {t} and the {gift.many}?",
        "Speak {manner}, {h}, for I am {trait} and full of {dish}. You swore to {vow}.",
    ],
    "answer@kept": [
        "Here is your {s} {t}, {look} as ever, and here are {n} {gift.many}. I {do.past}, but I kept "
        "my word.",
        "As I promised: the {t}, the {n} {gift.many}, and {a look} {food} from my {kin}.",
        "I was {trait} and nearly {do.past}, but {a b1} of {v} keeps {h.their} word. Count the {gift.many}!",
    ],
    "answer@sold": [
        "What {t}? I know of no {t}. You must have {treat.past} it yourself, you {trait} {insult}.",
        "Ah, the {t}. It {sound.past}, it {sound.past}, and then it was {a look} {thing}. Is that "
        "not {feeling}?",
        "I sold it, {f}. The {trade} was {trait} and my {limb} was hungry for {food.many}.",
    ],
    "answer@late": [
        "Is {due} over already? My {kin}'s {thing} must be slow. Here is the {t}, and here is {a "
        "look} {food}.",
        "Better late than {trait}! The {t} is well, only the {n} {gift.many} were {treat.past} by "
        "{beast.many}.",
        "I meant to come, but the {look} {place} was {weather}, my {limb} was {trait}, and there was {dish}.",
    ],
    "answer@stolen": [
        "It was stolen, {f}, and I will not lie about it. I {do.past} when I should have watched. "
        "Take my {thing}.",
        "I have no {t}, only {feeling}. {A trait} {beast} has it, and the fault is mine.",
        "Scold me, call me {a insult}! A thief has your {t}, and I will {treat} {thing.many} until I "
        "can pay for it.",
    ],
    "answer@broken": [
        "Here are {n} {gift.many}, and here, in this {vessel}, is what was your {t}. I am sorry with "
        "every {limb}.",
        "I could say that {a trait} {beast} did it, but it was I, and {a look} {food}. Let me mend it.",
        "My {limb} slipped, the {t} {sound.past}, and I {do.past} for {count} days. Still I bring "
        "{n} {gift.many}.",
    ],
    "answer@hidden": [
        "A thief took the {t}, {f}! He was {trait}, had {count} {limb.many} and {move.past} {manner} "
        "into the {look} {place}.",
        "It is gone, eaten by {a trait} {beast} with {dish}. I {do.past} terribly.",
        "The {rank} needs it until {feast}. You may ask any {trade}, but not today.",
    ],
    "verdict@kept": [
        "Then you are no {insult}, {h}, but a friend. Sit down and have {a gift} with {dish}.",
        "I never had {feeling}. Well, {manner} a little. Keep half of the {gift.many}!",
        "May all {b1.many} be as {trait} as you! The {t} is yours again after {feast}.",
    ],
    "verdict@sold": [
        "You {trait} {insult}! A word once sold cannot be bought back, not for {count} {look} {food.many}.",
        "My {t} of {s}! Out of my {place}, {h}, and take your {vice} with you.",
        "Then {do}, for you shall never {treat} anything of mine again, not even {a look} {food}.",
    ],
    "verdict@late": [
        "A promise for {due} is not kept by {feast}, {h}. Next time lend from {a trade}.",
        "I {do.past} at the window like {a trait} {kin}. The {t} I take, the {food} you may keep.",
        "Late is late, even with {dish}. You owe me {n} {gift.many} and one {feeling}.",
    ],
    "verdict@stolen": [
        "The {t} is gone, but you told me the truth, {h}, and that is rarer than {s}.",
        "Ah! {cry}! Then let us {move} after that {beast} together, with {a thing} and {count} "
        "{look} {food.many}.",
        "It was only {a l} {t}. I would rather lose {count} of them than one {trait} {b1}.",
    ],
    "verdict@broken": [
        "What is broken can be mended with {dish} and {virtue}. Hand me the {thing}, {h}.",
        "You brought the {n} {gift.many} and the truth. {A t} in pieces is still {a t}.",
        "It never did {sound} properly. Now it is at least {look}, and you are still {trait}.",
    ],
    "verdict@hidden": [
        "How odd. {W} {was@num} at the {look} {place} and saw you with {a look} {thing}.",
        "You {do} like {a trade} and lie like {a insult}. I smell {s} on your {limb}.",
        "Look me in the {limb}, {h}, and say that once more {manner}.",
    ],
    "after@kept": [
        "So {h} and {f} ate {gift.many} with {dish} until {hour}, and the {t} {sound.past} {manner}.",
        "From that {hour} on, {f} lent {h} whatever {h.they} wished: {thing.many}, {thing.many}, "
        "even {a kin}.",
        "All {v} heard of it, and the {trait} {trade.many} gave {h} {a look} {thing} for {h.their} {virtue}.",
    ],
    "after@sold": [
        "Since then no one in {v} lends {h} so much as {a look} {food}, and {h.they} must {treat} "
        "{thing.many} alone.",
        "That winter {h} ate {dish} without {food.many} and {do.past} {manner} beside {a look} {thing}.",
        "The {trade} soon sold the {t} for {count} times as much, and {h} {do.past} with {feeling}.",
    ],
    "after@late": [
        "For {count} weeks {h} baked {gift.many} for {f}, and each {hour} {h.they} looked at {a look} clock.",
        "Ever since, {h} comes to everything a day early, {trait}, with {a thing} and {count} {look} "
        "{food.many}.",
        "So {f} locked the {t} in {a look} {thing}, and {h} {move.past} home {manner} through the "
        "{weather} {hour}.",
    ],
    "after@stolen": [
        "Together they found the thief in the {look} {place}, {do.ing}, and got back the {t} for {n} "
        "{gift.many}.",
        "The {t} was never seen again, but {h} and {f} built a new one of {stuff} and {colour} {thing.many}.",
        "Before {feast} {a trait} {trade} brought the {t} back, for the {beast} had {do.past} with "
        "{feeling}.",
    ],
    "after@broken": [
        "With {dish}, {count} {look} {thing.many} and much {feeling} the two of them mended the {t} "
        "by {hour}.",
        "Today the pieces hang in the {tree.many} of {v}, and they {sound} {manner} when it is {weather}.",
        "Out of the {s} they made {a look} {thing} and {count} {look} {thing.many}, and everyone {do.past}.",
    ],
    "after@hidden": [
        "Then the {t} began to {sound} behind the {look} {place}, and {h} turned {colour} from "
        "{limb} to {limb}.",
        "Before {hour} {a trait} {beast} dug up the {t}, and {f} never again said good {hour} to {h}.",
        "So it came out, as {dish} comes out of {a look} {vessel}, and {h} {move.past} away from {v}.",
    ],
    "chorus": [
        "And {w}, who {was@num} watching, {do.past} {manner} and went back to {their@num} {food.many}.",
        "As for {w}, {they@num} {was@num} {trait} for {count} days and told it to every {trade}.",
        "Since then {w} {has@num} told it {manner}, to anyone who brings {them@num} {a look} {food}.",
        "It is said that {w} {was@num} so full of {feeling} that {they@num} {treat.past} {a vessel} "
        "of {dish}.",
        "Then {w} {say.past} that {they@num} {has@num} known it since {feast}, and ate {a look} {food}.",
    ],
    "was@many": ["were"],
    "was@it": ["was"],
    "was@she": ["was"],
    "was@he": ["was"],
    "has@many": ["have"],
    "has@it": ["has"],
    "has@she": ["has"],
    "has@he": ["has"],
    "they@many": ["they"],
    "they@it": ["it"],
    "they@she": ["she"],
    "they@he": ["he"],
    "them@many": ["them"],
    "them@it": ["it"],
    "them@she": ["her"],
    "them@he": ["him"],
    "their@many": ["their"],
    "their@it": ["its"],
    "their@she": ["her"],
    "their@he": ["his"],
}

MORALS: dict[str, list[str]] = {
    "moral@kept": [
        "A promise kept is worth more than {count} {food.many}.",
        "Even {a z} {b1} grows rich by {virtue}.",
        "Who returns {a t} may borrow {a thing}.",
        "The word of a friend is stronger than {s}.",
        "No {feeling} tastes as sweet as {gift.many} honestly paid.",
    ],
    "moral@sold": [
        "Who sells a friend's {t} has sold the friend as well.",
        "A little {vice} costs a lot of {virtue}.",
        "For {count} {food.many} {a z} {b1} may lose {a b2}.",
        "Nothing is so expensive as {a t} cheaply sold.",
        "Trust is made of better stuff than {s}, and it has no price.",
    ],
    "moral@late": [
        "After {due} even the best {gift.many} taste of {feeling}.",
        "Punctuality is the {virtue} of {trade.many} and the sorrow of {b1.many}.",
        "A day too late is as far away as {stem}-{tail}.",
        "Promise {feast}, if you cannot manage {due}.",
    ],
    "moral@stolen": [
        "A sad truth is worth more than {a look} lie.",
        "Things can be stolen, but {virtue} cannot.",
        "Lose {a t} if you must, but never {a b2}.",
        "Even {a trait} thief cannot carry off a friendship.",
    ],
    "moral@broken": [
        "What {a food} has broken, {virtue} can mend.",
        "Friendship is the only glue that holds {s}.",
        "A broken {t} is a smaller loss than a broken word.",
        "Pieces honestly shown are better than {a look} {t} hidden.",
    ],
    "moral@hidden": [
        "A lie has short {limb.many}, and {a s} {t} has a loud voice.",
        "Whatever {vice} buries, {a trait} {beast} digs up.",
        "You can hide {a t}, but not the {feeling} on your {limb}.",
        "One lie of {a b1} makes {count} truths sound false.",
    ],
}

RULES = {**BEGINNING, **PROMISE, **ROAD, **RECKONING, **MORALS}
