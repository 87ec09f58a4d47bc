"""Lesson 09: {exercise: {part of what the check says: a wrong answer}}."""

WRONG = {
    "09.1": {
        "optimiser is missing": lambda p, t, item: item * (p + t),
        "two running means": lambda p, t, item: item * (p + 2 * t),
        "frozen parameters get no": lambda p, t, item: item * 4 * p,
        "counted twice": lambda p, t, item: item * (p + 4 * t),
        "frozen weights are missing": lambda p, t, item: item * 4 * t,
        "these are numbers": lambda p, t, item: p + 3 * t,
        "use item": lambda p, t, item: 2 * (p + 3 * t),
        "two states": lambda p, t, item: item * (p + 5 * t),
    },
    "09.2": {
        "these are the selected": lambda selected, n: sorted(selected),
        "below the lowest": lambda selected, n: list(range(n)),
        "comes down": lambda selected, n: list(range(min(selected) + 1)),
        "is missing": lambda selected, n: [i for i in range(n) if i > min(selected)],
        "not only to the highest": lambda selected, n: [i for i in range(n) if i >= max(selected)],
        "comes from the loss": lambda selected, n: [
            i for i in range(n) if min(selected) <= i <= max(selected)
        ],
        "n_blocks - 1": lambda selected, n: list(range(min(selected), n + 1)),
        "the lowest first": lambda selected, n: list(range(n - 1, min(selected) - 1, -1)),
        "need not be sorted": lambda selected, n: list(range(selected[0], n)),
    },
    "09.3": {"trained numbers": "a", "small part": "b", "add up": "d", "one of": "e"},
    "09.4": {
        "these are seconds": lambda flops, peak, share, n: n * flops / (share * peak),
        "these are minutes": lambda flops, peak, share, n: n * flops / (share * peak) / 60,
        "this is one step": lambda flops, peak, share, n: flops / (share * peak) / 3600,
        "never reaches": lambda flops, peak, share, n: n * flops / peak / 3600,
        "a lower share": lambda flops, peak, share, n: n * flops / peak * share / 3600,
        "turned over": lambda flops, peak, share, n: n / flops * peak * share / 3600,
        "not the hours": lambda flops, peak, share, n: 0.0,
    },
}
