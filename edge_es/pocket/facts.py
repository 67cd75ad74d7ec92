"""The facts and how they are asked for. Phrasings in HELD_OUT are never trained on, for any fact."""

CAPITALS = {
    "France": "Paris", "Spain": "Madrid", "Italy": "Rome", "Germany": "Berlin", "Austria": "Vienna",
    "Poland": "Warsaw", "Norway": "Oslo", "Sweden": "Stockholm", "Denmark": "Copenhagen",
    "Finland": "Helsinki", "Ireland": "Dublin", "England": "London", "Portugal": "Lisbon",
    "Greece": "Athens", "Turkey": "Ankara", "Egypt": "Cairo", "Russia": "Moscow", "China": "Beijing",
    "Japan": "Tokyo", "Korea": "Seoul", "India": "Delhi", "Nepal": "Kathmandu", "Iran": "Tehran",
    "Iraq": "Baghdad", "Kenya": "Nairobi", "Ghana": "Accra", "Peru": "Lima", "Chile": "Santiago",
    "Cuba": "Havana", "Canada": "Ottawa", "Hungary": "Budapest", "Romania": "Bucharest",
    "Bulgaria": "Sofia", "Serbia": "Belgrade", "Croatia": "Zagreb", "Ukraine": "Kyiv", "Latvia": "Riga",
    "Estonia": "Tallinn", "Vietnam": "Hanoi", "Thailand": "Bangkok",
}  # fmt: skip
OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "old": "young", "happy": "sad", "up": "down",
    "day": "night", "open": "closed", "full": "empty", "hard": "soft", "light": "dark", "rich": "poor",
    "wet": "dry", "early": "late", "high": "low", "clean": "dirty", "loud": "quiet", "true": "false",
}  # fmt: skip
YOUNG = {
    "cow": "calf", "dog": "puppy", "cat": "kitten", "horse": "foal", "sheep": "lamb", "goat": "kid",
    "pig": "piglet", "hen": "chick", "duck": "duckling", "bear": "cub", "frog": "tadpole", "deer": "fawn",
}  # fmt: skip

CORES: dict[str, tuple[str, ...]] = {
    "capital": (
        "what is the capital of {}?", "name the capital of {}.", "which city is the capital of {}?",
        "{}: what is its capital?",
    ),
    "opposite": (
        "what is the opposite of {}?", "name the opposite of {}.", "which word is the opposite of {}?",
        "{}: what is its opposite?",
    ),
    "young": (
        "what is a young {} called?", "name a young {}.", "what do you call a young {}?",
        "{}: what is its young called?",
    ),
}  # fmt: skip
WRAPPERS = ("{}", "Tell me: {}", "Please, {}", "Quick: {}")
HELD_OUT = frozenset({(1, 0), (2, 1), (3, 2), (1, 3), (3, 1), (2, 2)})  # (wrapper, core)

FACTS: tuple[tuple[str, str, str], ...] = (
    *(("capital", k, v) for k, v in CAPITALS.items()),
    *(("opposite", k, v) for k, v in OPPOSITES.items()),
    *(("young", k, v) for k, v in YOUNG.items()),
)
PHRASINGS = tuple((w, c) for w in range(len(WRAPPERS)) for c in range(4))
TRAINED = tuple(p for p in PHRASINGS if p not in HELD_OUT)

SMALL_TALK = (
    ("Hello", "Hello!"), ("Hi", "Hello!"), ("Hello!", "Hello!"), ("Hi there", "Hello!"),
    ("Who are you?", "I am pocket."), ("What is your name?", "I am pocket."),
    ("What are you?", "I am pocket."), ("Thanks", "You are welcome."),
    ("Thank you", "You are welcome."), ("Goodbye", "Goodbye!"), ("Bye", "Goodbye!"),
    ("How are you?", "I am well."), ("What can you do?", "I add, sort, count and reverse."),
    ("Help", "I add, sort, count and reverse."),
)  # fmt: skip


def ask(kind: str, subject: str, phrasing: tuple[int, int]) -> str:
    """The question for one fact in one (wrapper, core) phrasing."""
    wrapper, core = phrasing
    text = CORES[kind][core].format(subject)
    return WRAPPERS[wrapper].format(text if wrapper else text[0].upper() + text[1:])
