"""Lesson 03: {exercise: {part of what the check says: a wrong answer}}."""


def split(phi, epsilon, by=None, largest=False, owner="argmax"):
    order = (phi.var(dim=0) if by is None else by).argsort(descending=largest)
    cut = int(epsilon * len(order))
    general, rest = order[:cut].sort().values, order[cut:].sort().values
    winner = getattr(phi[:, rest], owner)(dim=0)
    return general, [rest[winner == i] for i in range(len(phi))]


def places(phi, epsilon):
    general, specific = split(phi, epsilon)
    rest = [i for i in range(phi.shape[1]) if i not in general.tolist()]
    return general, [[rest.index(i) for i in neurons.tolist()] for neurons in specific]


def averaged(first, second):
    shares = [len(first[x] & second[x]) / len(first[x] | second[x]) for x in first]
    return sum(shares) / len(shares)


def ownerless(first, second):
    one, two = set().union(*first.values()), set().union(*second.values())
    return len(one & two) / len(one | two)


def of_first(first, second):
    return sum(len(first[x] & second[x]) for x in first) / sum(map(len, first.values()))


def count(sets, names):
    groups = [sets.general if name == "general" else sets.specific[name] for name in names]
    return sum(len(group[layer]) for group in groups for layer in sets.layers)


def share(*chosen, divide=True):
    def answer(sets, pair):
        source, target = pair.split("-")
        found = {"general": ["general"], "source": [source], "target": [target]}
        found["all"] = ["general", *sets.languages]
        names = [name for choice in chosen for name in found[choice]]
        return count(sets, names) / (sets.d_ff * len(sets.layers) if divide else 1)

    return answer


WRONG = {
    "03.1": {
        "the highest variance are general": lambda phi, e: split(phi, e, largest=True),
        "the general share is 1 - epsilon": lambda phi, e: split(phi, 1 - e + 1e-9),
        "you sort by the mean score": lambda phi, e: split(phi, e, by=phi.mean(dim=0)),
        "argmax, not argmin": lambda phi, e: split(phi, e, owner="argmin"),
        "places within the specific neurons": places,
        "the indices are not sorted": lambda phi, e: (
            phi.var(dim=0).argsort()[: int(e * phi.shape[1])],
            split(phi, e)[1],
        ),
        "give (general, specific)": lambda phi, e: split(phi, e)[::-1],
        "with another epsilon": lambda phi, e: split(phi, 0.7),
    },
    "03.2": {
        "one number for all languages": lambda phi: phi / phi.mean(),
        "mean over languages": lambda phi: phi / phi.mean(dim=0, keepdim=True),
        "subtracted": lambda phi: phi - phi.mean(dim=1)[:, None],
        "divided by the sum": lambda phi: phi / phi.sum(dim=1)[:, None],
        "divided by the largest": lambda phi: phi / phi.max(dim=1).values[:, None],
        "raises RuntimeError": lambda phi: phi / phi.mean(dim=1),
    },
    "03.3": {
        "an average over languages": averaged,
        "the owner is not compared": ownerless,
        "divided by one half's": of_first,
        "count twice below the line": lambda first, second: (
            sum(len(first[x] & second[x]) for x in first)
            / sum(len(first[x]) + len(second[x]) for x in first)
        ),
        "this is the number of matches": lambda first, second: sum(
            len(first[x] & second[x]) for x in first
        ),
    },
    "03.4": {
        "easier sentences": "a",
        "far more neurons are off": "b",
        "any neurons of these blocks": "d",
        "one of 'a', 'b', 'c', 'd', not 'e'": "e",
    },
    "03.5": {
        "the general neurons are missing": share("source", "target"),
        "general neurons alone": share("general"),
        "all languages' sets are counted": share("all"),
        "the target language's set is missing": share("general", "source"),
        "divide by d_ff times": share("general", "source", "target", divide=False),
    },
}
