"""Which model runs on which series of a study, why, and why not. Pure: no I/O, no database.

    RuleSettings (TOML), ModelContract
        language    each condition (CEL) parsed, its names looked up (attributes), its types checked (types)
        match       RuleSet.compile, once; RuleSet.decide(study, rule): every series judged, the best one chosen
        explain     Decision -> plain data for --json, lines for a terminal

An attribute that is absent, or on which the instances of a series differ, is unknown: unknown in ``all`` and in
the model's own conditions is no match, in ``any`` and ``none`` it counts as false, and it is shown by name.
"""
