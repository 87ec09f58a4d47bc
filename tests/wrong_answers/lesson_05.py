"""Lesson 05: {exercise: {part of what the check says: a wrong answer}}."""

import torch


def steps(weight, gradients, lr, **options):
    parameter = torch.nn.Parameter(weight.clone())
    optimizer = torch.optim.AdamW([parameter], lr=lr, **options)
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()
    return parameter.data


def masked(weight, gradients, rows, lr):
    keep = torch.zeros(len(weight), 1)
    keep[rows] = 1
    return steps(weight, [gradient * keep for gradient in gradients], lr)


def undecayed(weight, gradients, rows, lr):
    weight[rows] = steps(weight[rows], [x[rows] for x in gradients], lr, weight_decay=0.0)
    return weight


def counted(*chosen):
    def answer(sets, pair, per_neuron):
        source, target = pair.split("-")
        total = 0
        for layer in sets.layers:
            sizes = {name: len(group[layer]) for name, group in sets.specific.items()}
            found = {"source": sizes[source], "target": sizes[target]}
            found |= {"general": len(sets.general[layer]), "every": sum(sizes.values())}
            total += sum(found[name] for name in chosen)
        return total * per_neuron

    return answer


def around(times, root):
    def answer(values):
        values = torch.tensor(values)
        half = times * values.std() * root(len(values))
        return values.mean() - half, values.mean() + half

    return answer


T2 = 4.302653  # Student's t with two degrees of freedom, 97.5%
WRONG = {
    "05.1": {
        "drop nothing in front": lambda p, t, end: [-100] * (len(p) - 1) + [*t, end],
        "the one after the next": lambda p, t, end: [-100] * (len(p) - 1) + [*t, end, -100],
        "the loss counts the prompt": lambda p, t, end: p + t + [end],
        "never learn to stop": lambda p, t, end: [-100] * len(p) + t + [-100],
        "the end mark is missing": lambda p, t, end: [-100] * len(p) + t,
        "marked by -100": lambda p, t, end: [0] * len(p) + t + [end],
    },
    "05.2": {
        "weight decay is not": masked,
        "all rows are trained": lambda weight, gradients, rows, lr: steps(weight, gradients, lr),
        "no weight decay": undecayed,
        "plain gradient steps": lambda weight, gradients, rows, lr: torch.stack(
            [
                row - lr * sum(x[i] for x in gradients) if i in rows else row
                for i, row in enumerate(weight)
            ]
        ),
        "the chosen rows alone": lambda weight, gradients, rows, lr: steps(
            weight[rows], [x[rows] for x in gradients], lr
        ),
        "nothing moved": lambda weight, gradients, rows, lr: weight,
    },
    "05.3": {
        "general neurons alone": counted("general"),
        "the general neurons are missing": counted("source", "target"),
        "of every language": counted("general", "every"),
        "the target language's neurons are missing": counted("general", "source"),
        "each has per_neuron scalars": lambda sets, pair, n: counted("general", "source", "target")(
            sets, pair, 1
        ),
        "is counted twice": counted("general", "source", "target"),
    },
    "05.4": {
        "the interval of the mean": around(T2, lambda n: n**-0.5),
        "the mean itself is uncertain": around(T2, lambda n: 1),
        "the normal curve's": around(1.959964, lambda n: (1 + 1 / n) ** 0.5),
        "the smallest and the largest": lambda values: (min(values), max(values)),
        "the root is missing": around(T2, lambda n: 1 + 1 / n),
        "with five runs": around(T2, lambda n: (1 + 1 / n) ** 0.5),
    },
    "05.5": {"the same metric measured both": "a", "no test sentence": "b", "far apart": "d"},
}
