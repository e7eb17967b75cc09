"""What happens in a fable: who wants what, what is promised, what becomes of it, and the moral.

Remembered in every tale: the hero `h`, a `b1` by birth; the friend `f`, a `b2`; the stranger `o`, a `b3`; the thing,
`l` `s` `t` (say, a *squeaky copper kettle*); the village `v`; the witness `w` and whether it is one or many, `num`;
the promise `vow`, its day `due` and its fee, `n` times `gift`; and how it ends, `fate`. The writing rule of the
house: two templates of one list must part at plain characters (grammar.py says why). Templates only, no code.
"""

from __future__ import annotations

RULES: dict[str, list[str]] = {
    "story": [
        "The {Beast:b1} and the {Stuff:s} {Thing:t}\n{opening}\n{scene}\n{B2}: {ask}\n{B1}: {offer}\n{B2}: {vowing}\n"
        "{B1}: {swearing}\n{road}\n{stranger}\n{B3}: {temptation}\n{turn}\n{witnessing}\n{B2}: {question}\n"
        "{B1}: {answer@fate}\n{B2}: {verdict@fate}\n{after@fate}\nMoral: {moral@fate}\n\n",
    ],
    # --- the beginning: hero, friend, thing, witness
    "opening": [
        "Once there lived in {village:v} {a trait} {b1} called {name:h}, who was {trait} in the {hour} and {trait} at "
        "{hour}. {neighbour}",
        "In the {weather} village of {village:v}, between the {place} and the {place}, lived {name:h}, {a trait} {b1} "
        "with {count} {limb.many} and {a colour} {limb}. {neighbour}",
        "Long ago, when {food.many} still cost {count} {flower.many}, {a trait} {b1} named {name:h} worked as {a trade} "
        "in {village:v}. {neighbour}",
        "Nobody in {village:v} was as {trait} as {name:h} the {b1}, the {trait} {kin} of the {trade}. {neighbour}",
        "Behind the {place} of {village:v}, under {a look} {tree}, {a trait} {b1} by the name of {name:h} had "
        "{count} {thing.many} and not one {food}. {neighbour}",
        "They say in {village:v} that {name:h} the {b1} was born on {a weather} {hour} in {feast}, with {a look} "
        "{thing} in {h.their} {limb}. {neighbour}",
        "Every {hour} the {trait} {b1} {name:h} of {village:v} would {do} {manner} and {treat} {h.their} "
        "{thing.many}. {neighbour}",
        "When {name:h} the {b1} came to {village:v}, {h.they} owned nothing but {a colour} {limb}, {a look} {thing} "
        "and {h.their} {virtue}. {neighbour}",
        "At the {place} near {village:v} {a trait} {b1}, {name:h}, sold {food.many} to {trade.many} and {dish} to "
        "everyone {trait}. {neighbour}",
        "If you ask the {trade.many} of {village:v} about {vice}, they {do} and tell of {name:h}, the {trait} {b1}. "
        "{neighbour}",
    ],
    "neighbour": [
        "Next door lived {name:f} the {b2_}, {a trait} {trade}, whose {look:l} {s} {t} was the {feeling} of {witness:w}.",
        "{h.their_} best friend was {name:f}, {a trait} {b2_}, and what {f.they} loved most was {a look:l} {s} {t}, the gift "
        "of {witness:w}.",
    ],
    "witness": [
        "the {count} {beast.many} of the {place}[num=many]",
        "one {trait} {beast} from the {place}[num=one]",
        "her {kin} the {beast}[num=one]",
        "his {count} {trait} {kin.many}[num=many]",
        "Old {Rank} {Beast}[num=one]",
        "all {trade.many} of the {place}[num=many]",
        "some {trait} {beast.many}[num=many]",
    ],
}
