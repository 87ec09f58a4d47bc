"""What goes with what in Tiny Babel's world: who does what to what and where, which words exclude each
other, and what can be the cause of what. Tables only; `sampler.py` draws from them.

Everywhere a class is a group of nouns: those of `lexicon.yaml` or those of `SUBCLASSES`.
"""

from __future__ import annotations

PEOPLE = ("person", "profession")
ANIMATE = (*PEOPLE, "animal")
# one carries paper about, but not a story
WARES = ("food", "food_mass", "drink", "print", "portable", "clothing")
GOODS = (*WARES, "paper")
PORTABLE = ("portable", "clothing", "paper")
SIGHTS = (*ANIMATE, "building", "nature", "vehicle", "thing", "paper", "clothing")

# ---------------------------------------------------------------------------- smaller classes
TAME = "dog cat rabbit horse cow sheep goat donkey duck camel".split()
WILD = "lion mouse wolf bear elephant monkey snake fox tiger bird fish".split()
SUBCLASSES = {
    "tame": TAME,
    "wild": [a for a in WILD if a != "fish"],  # those that are in the forest and the mountains
    "beast": [a for a in TAME + WILD if a != "fish"],
    "walker": [a for a in TAME + WILD if a not in ("fish", "bird", "snake")],
    "swimmer": ["fish", "duck", "dog", "bear", "elephant"],
    "waiting": ["dog", "cat", "horse", "donkey"],
    "playful": ["dog", "cat", "monkey", "bear", "fox"],
    "predator": ["dog", "cat", "lion", "wolf", "bear", "fox", "tiger"],
    "grazer": "horse cow sheep goat rabbit donkey elephant monkey camel mouse duck".split(),
    "prey": ["meat", "egg"],
    "fodder": ["apple", "pear", "banana", "bread", "potato"],
    "animal_drink": ["water", "milk"],
    "portable": "lamp key bag box cup plate knife bottle clock picture mirror phone computer pen"
    " ball umbrella ring basket camera gift".split(),
    # not what one eats: French "aimer le lapin" is to like its meat
    "beloved": [a for a in TAME + WILD if a not in ("sheep", "rabbit", "duck", "fish")],
    "small": "lamp key bag box cup plate knife bottle clock mirror phone pen ball ring basket"
    " camera gift".split(),
    # not what one wears, which is another meaning of the German and the Afrikaans verb
    "carried": "table chair bed lamp key bag box cup plate bottle clock picture mirror umbrella"
    " basket gift book letter newspaper".split(),
    "box_like": ["box", "bag", "bottle", "umbrella", "book", "shop"],
    "letter_like": ["letter", "gift", "newspaper"],
    "written": ["letter", "story", "poem", "message"],  # at one go: "will write a letter tomorrow"
    "scenery": "sea forest river mountain island flower tree".split(),
    "known": ["book", "story", "poem"],
    "paper": ["book", "newspaper", "letter"],
    "print": ["book", "newspaper"],
    "dish": ["cup", "plate", "knife", "bottle"],
    "surface": ["table", "mirror", "window", "door", "shoe", "lamp"],
    "laundry": ["shirt", "coat", "dress", "jacket", "scarf"],
    "car_like": ["car", "bus", "bicycle", "truck"],
    "traded": ["car", "bicycle", "truck"],  # nobody buys a train
    "repaired": ["car", "bicycle", "truck", "ship"],
    "noisy": ["car", "bus", "truck", "train", "plane"],
    "spectacle": ["sea", "star", "ship", "train", "plane"],
    "washed_food": ["apple", "tomato", "potato", "pear", "lemon"],
    "cooked": ["egg", "potato", "meat", "rice", "soup"],
    "machine": "lamp clock phone computer camera umbrella shoe chair".split(),
    "built": "house school hospital bridge tower hotel ship castle".split(),
    "bought_building": ["house", "shop", "hotel", "restaurant", "castle"],
    "cleaned": "house shop school hotel restaurant kitchen".split(),
    "needed": "doctor lawyer engineer driver teacher worker baker cook".split(),
    "visited": "hospital shop library museum hotel tower castle restaurant".split(),
    "fragile": "cup plate bottle mirror lamp window phone clock".split(),
    "sliced": "apple orange banana cake tomato potato onion lemon pear bread meat cheese".split(),
    "nature_place": ["island"],
}

# ------------------------------------------------------------------- who does what to what
# verb -> its frames: (classes of the subject, classes of the object); () where there is no object
FRAMES = {
    verb: (((*PEOPLE, animals), ()),)
    for verb, animals in {
        "sleep": "beast",
        "rest": "beast",
        "run": "walker",
        "fall": "walker",
        "arrive": "walker",
        "come": "walker",
        "swim": "swimmer",
        "wait": "waiting",
        "play": "playful",
    }.items()
}
FRAMES |= {
    verb: ((PEOPLE, ()),)
    for verb in ("laugh", "cry", "work", "dance", "sing", "travel", "smile", "leave", "dream")
}
FRAMES |= {
    "see": ((PEOPLE, SIGHTS), (("beast",), ANIMATE)),
    "eat": (
        (PEOPLE, ("food", "food_mass")),
        (("predator",), ("prey",)),
        (("grazer",), ("fodder",)),
    ),
    "drink": ((PEOPLE, ("drink",)), (("beast",), ("animal_drink",))),
    "read": ((PEOPLE, ("text",)),),
    "write": ((PEOPLE, ("written",)),),
    "buy": ((PEOPLE, (*WARES, "traded", "bought_building")),),
    "sell": ((PEOPLE, (*WARES, "traded", "tame")),),
    "love": ((PEOPLE, (*PEOPLE, "beloved", "food_mass", "drink", "text", "scenery")),),
    "know": ((PEOPLE, (*PEOPLE, "known")),),
    "find": ((PEOPLE, (*PORTABLE, "tame")), (("predator",), ("walker", "prey"))),
    "hear": (((*PEOPLE, "beast"), (*PEOPLE, "beast", "noisy")),),
    "help": ((PEOPLE, (*PEOPLE, "tame")),),
    "visit": ((PEOPLE, (*PEOPLE, "visited", "nature_place")),),
    "open": ((PEOPLE, ("opening", "box_like", "letter_like")),),
    "close": ((PEOPLE, ("opening", "box_like")),),
    "carry": ((PEOPLE, ("carried",)),),
    "wash": ((PEOPLE, ("laundry", "dish", "car_like", "washed_food")),),
    # not buildings: English and others would paint their walls
    "paint": ((PEOPLE, (*ANIMATE, "nature")),),
    "cook_v": ((PEOPLE, ("cooked",)),),
    "lose": ((PEOPLE, PORTABLE),),
    "look_for": ((PEOPLE, (*ANIMATE, *PORTABLE)), (("predator",), ("walker", "prey"))),
    "follow": (((*PEOPLE, "walker"), (*PEOPLE, "walker", "car_like")),),
    "repair": ((PEOPLE, ("repaired", "machine")),),
    "build": ((PEOPLE, ("built",)),),
    "clean_v": ((PEOPLE, ("cleaned", "surface", "car_like")),),
    "need": ((PEOPLE, (*GOODS, "traded", "needed")),),
    "call": ((PEOPLE, PEOPLE),),
    "meet": ((PEOPLE, PEOPLE),),
    "watch": ((PEOPLE, (*ANIMATE, "spectacle")), (("predator",), ANIMATE)),
    "forget": ((PEOPLE, (*PORTABLE, *PEOPLE)),),
    "understand": ((PEOPLE, (*PEOPLE, "known")),),
    "take": ((PEOPLE, ("portable", "clothing", "food")),),
    "steal": ((PEOPLE, (*PORTABLE, "food", "car_like", "tame")),),
    "break_v": ((PEOPLE, ("fragile",)),),
    "cut": ((PEOPLE, ("sliced",)),),
    "hide": ((PEOPLE, PORTABLE),),
    "bring": ((PEOPLE, (*GOODS, "paper")),),
    "thank": ((PEOPLE, PEOPLE),),
}
YOUNG = {"child", "boy", "girl"}
NOT_BY_THE_YOUNG = {"build", "wash", "repair", "sell"}
NOT_FOR_THE_YOUNG = {"wine", "coffee"}
NO_MODAL = set(
    "come know need love forget lose fall understand break_v dream cry arrive hear see laugh smile".split()
)
# what one does again and again, with "often", "always" and "every day"
HABITS = set(
    "sleep run laugh cry work dance sing swim wait travel smile play rest eat drink read write help"
    " carry wash cook_v watch call clean_v meet visit".split()
)
FREQUENCY = {"often", "always", "every_day"}
# of a moment: not what one is doing, so not in an affirmed or asked present
PUNCTUAL = {"lose", "find", "forget", "break_v", "steal", "fall", "arrive"}
STATES = {"know", "love", "need", "understand"}  # of somebody in particular
# of something in particular: "does not understand a message" makes one ask which
PARTICULAR = {"know", "understand", "forget"}
MOVING = {"come", "leave", "travel", "run", "swim"}
# "the girl will know Laura", "the father will lose the dresses"
NO_FUTURE = {"know", "forget", "lose", "love", "fall", "dream", "hear"}
# with "now" and "today"
NOT_NOW = set(
    "know love forget lose break_v find arrive steal dream see hear understand need".split()
)
# whose one can be "my" or "Anna's", among classes of which others cannot
UNOWNED = (
    {"man", "woman", "boy", "girl", "king", "queen", "thief", "soldier", "guest"}
    | set("farmer hunter singer writer painter judge engineer fisherman merchant".split())
    | {"potato"}  # Italian "la sua patata" is vulgar
    | set("mountain sea forest star river stone island".split())
    | set("bus train ship plane bridge tower station museum hospital library".split())
    | set(WILD)
)
PARENTS = {"mother", "father", "grandmother", "grandfather"}
PAIRED = {"shoe"}  # plural
UNCOUNTED = PARENTS | PAIRED  # there are not seven of them
KIN = PARENTS | {"brother", "sister", "aunt", "uncle", "daughter", "son"}
# singular and definite: one speaks of "the aunt", not of "an aunt", unless she is somebody's
UNIQUE = {"king", "queen", "sea"} | KIN

# ------------------------------------------------------------------------------------ where
INDOORS = ("at_home", "in_house", "in_kitchen", "at_school", "in_hospital", "in_restaurant")
TOWN = ("in_city", "in_village", "on_street", "in_park", "at_market", "at_station")
COUNTRY = ("in_garden", "in_forest", "at_beach", "near_river", "in_mountains", "under_tree")
QUIET = ("at_home", "in_garden", "in_house", "in_hospital", "in_park", "under_tree", "at_beach")
HOME = ("at_home", "in_house", "in_kitchen", "in_garden")
WILD_PLACES = ("in_forest", "near_river", "in_mountains", "under_tree")
TAME_PLACES = ("in_garden", "in_village", "on_street", "in_park", "under_tree", "near_river")
WHERE = {  # verb -> places of people; the others are everywhere in ANYWHERE
    **dict.fromkeys(("sleep", "rest"), (*QUIET, "in_forest", "in_mountains")),
    **dict.fromkeys(("read", "write"), (*QUIET, "at_school", "at_station", "in_kitchen")),
    **dict.fromkeys(("eat", "drink"), (*QUIET, *INDOORS, "at_station", "at_market")),
    **dict.fromkeys(("buy", "sell"), ("at_market", "in_city", "in_village")),
    **dict.fromkeys(("wash", "clean_v"), ("at_home", "in_garden")),
    **dict.fromkeys(("know", "love", "need", "understand", "dream", "forget", "lose", "carry"), ()),
    # "leaves in the kitchen" reads badly everywhere
    **dict.fromkeys(("leave", "travel", "come", "follow", "bring", "call", "thank", "take"), ()),
    **dict.fromkeys(("open", "close"), ("at_home", "in_house", "in_kitchen", "at_school")),
    "cook_v": ("at_home", "in_house", "in_kitchen", "in_restaurant"),
    "cut": ("at_home", "in_house", "in_kitchen", "in_restaurant"),
    "break_v": ("at_home", "in_house", "in_kitchen", "in_restaurant", "at_school"),
    "hide": (*HOME, "under_tree"),
    "swim": ("at_beach",),
    "run": (*TOWN, *COUNTRY),
    "build": ("in_city", "in_village", "in_mountains", "near_river"),
    "visit": ("in_city", "in_village", "in_mountains"),
    "repair": ("at_home", "in_garden", "on_street", "at_school"),
    "paint": ("in_city", "in_village", "in_park", *COUNTRY),
    "work": (*HOME, "in_city", "at_school", "in_hospital", "at_market", "in_restaurant"),
    "arrive": ("at_home", "at_school", "at_station", "at_beach", "in_village", "in_city"),
}
# what is somewhere itself: only this verb says where as well ("builds a house in the village")
PLACED = {"building", "nature", "opening"}
PLACING = {"build"}
ANYWHERE = (*INDOORS, *TOWN, *COUNTRY, "on_bridge")
THERE_IS = {  # "there is X in PLACE"
    **dict.fromkeys(PEOPLE, ANYWHERE),
    "tame": TAME_PLACES,
    "wild": WILD_PLACES,
    "thing": (*INDOORS[1:], "in_garden", "at_market"),  # not at_home, which is said of people
    "small": ("on_table", *INDOORS[1:]),
}

# ----------------------------------------------------------------------- what excludes what
COLOURS = ("red", "blue", "green", "white", "black", "yellow")
ADJECTIVES = {  # adjectives of a class beside those of its members
    "food_mass": ("good", "expensive", "cheap"),
    "drink": ("good", "expensive", "cheap"),
    "food": ("big", "small", "good", "expensive", "cheap"),
    "text": ("old", "beautiful", "long", "good", "new"),
    "nature": ("big", "small", "beautiful"),
    "opening": ("big", "small", "old", "new", "beautiful", "clean", "dirty"),
    "building": ("big", "small", "old", "beautiful", "clean", "new"),
}
ADJECTIVES_OF_SOME = {  # adjectives that only some nouns of a class take
    "green": {"apple", "banana", "pear", "tomato"},
    "old": {"tree", "forest"},
    "expensive": {"house", "shop", "hotel", "restaurant", "castle"},
    "long": {"river", "bridge", "coat", "dress", "scarf"},
    "heavy": {"stone"},
}
# the thing classes take all of these
THINGS = ("big", "small", "old", "new", "beautiful", "expensive", "cheap", "clean", "dirty")
# what somebody or something was not, and what it will not be: "was old", "will be cheap"
NOT_OVER = {"young", "old", "new"}
NOT_TO_COME = NOT_OVER | {*COLOURS, "big", "small", "long", "heavy", "expensive", "cheap"}
NOT_TO_COME |= {"clever", "brave", "kind", "beautiful", "good"}
OPPOSITES = [
    {"big", "small"},
    {"old", "new"},
    {"old", "young"},
    {"expensive", "cheap"},
    {"clean", "dirty"},
    {"happy", "sad"},
    {"rich", "poor"},
    {"strong", "sick"},
    {"strong", "tired"},
    *({a, b} for a in COLOURS for b in COLOURS if a < b),
]
CLASHES = {  # an adjective of the subject -> what it does not do
    "sad": {"laugh", "smile", "dance", "sing", "play"},
    "happy": {"cry"},
    "tired": {"run", "dance", "play"},
    "sick": {"run", "swim", "dance", "play", "work", "travel"},
    "poor": {"buy", "travel"},
    "rich": {"steal"},
    "good": {"steal"},
    "kind": {"steal"},
}
CLASHES_WITH_OBJECT = {  # a verb -> what its object is not, before it is done
    "clean_v": {"clean"},
    "wash": {"clean"},
    "build": {"old", "clean"},
    "write": {"old"},
    "repair": {"new"},
    "visit": {"expensive"},
}
# verbs that exclude each other in one subject: "the man who sleeps laughs"
ALONE = {"sleep", "rest", "dream", "laugh", "cry", "smile", "fall"}

# -------------------------------------------------------------------------- what causes what
ONCE = {
    "lose",
    "break_v",
    "find",
    "read",
}  # a cause only when it is over: "cries because he lost the key"
# (verb, negated) -> its causes. A cause speaks of the "subject" (a pronoun) or of the "object" (said
# again): an adjective, or a verb with an object of the classes that follow.
CAUSES = {
    ("sleep", False): (("subject", "tired"), ("subject", "sick")),
    ("rest", False): (("subject", "tired"), ("subject", "sick"), ("subject", "old")),
    ("cry", False): (
        ("subject", "sad"),
        ("subject", "tired"),
        ("subject", "lose", ("portable",)),
        ("subject", "break_v", ("fragile",)),
    ),
    ("laugh", False): (("subject", "happy"), ("subject", "read", ("written",))),
    ("smile", False): (("subject", "happy"), ("subject", "find", ("portable",))),
    ("sing", False): (("subject", "happy"),),
    ("dance", False): (("subject", "happy"),),
    ("work", False): (("subject", "poor"), ("subject", "need", ("traded", "clothing"))),
    ("wait", False): (("subject", "need", ("needed",)),),
    ("travel", False): (("subject", "rich"),),
    ("come", False): (("subject", "need", ("needed", "portable")), ("subject", "hungry")),
    ("leave", False): (("subject", "tired"), ("subject", "sad"), ("subject", "sick")),
    ("eat", False): (("subject", "hungry"), ("object", "good")),
    ("cook_v", False): (("subject", "hungry"),),
    ("steal", False): (("subject", "poor"), ("object", "expensive"), ("object", "beautiful")),
    ("buy", False): (("object", "cheap"), ("object", "beautiful"), ("subject", "rich")),
    ("sell", False): (("object", "old"), ("subject", "poor")),
    ("love", False): (("object", "good"), ("object", "kind"), ("object", "beautiful")),
    ("help", False): (("subject", "kind"), ("object", "sick"), ("object", "tired")),
    ("visit", False): (("object", "sick"), ("object", "famous"), ("object", "beautiful")),
    ("call", False): (("object", "sick"), ("subject", "need", ("needed",))),
    ("thank", False): (("object", "kind"),),
    ("know", False): (("object", "famous"),),
    ("wash", False): (("object", "dirty"),),
    ("clean_v", False): (("object", "dirty"),),
    ("repair", False): (("object", "old"),),
    ("paint", False): (("object", "beautiful"),),
    ("watch", False): (("object", "beautiful"), ("object", "famous")),
    ("read", False): (("object", "good"), ("object", "beautiful")),
    ("look_for", False): (("subject", "need", ()),),
    ("hide", False): (("object", "expensive"),),
    ("run", True): (("subject", "tired"), ("subject", "sick"), ("subject", "old")),
    ("dance", True): (("subject", "tired"), ("subject", "sad"), ("subject", "sick")),
    ("play", True): (("subject", "tired"), ("subject", "sad"), ("subject", "sick")),
    ("swim", True): (("subject", "tired"), ("subject", "sick")),
    ("work", True): (("subject", "sick"), ("subject", "tired"), ("subject", "rich")),
    ("laugh", True): (("subject", "sad"),),
    ("smile", True): (("subject", "sad"), ("subject", "tired")),
    ("sing", True): (("subject", "sad"), ("subject", "sick")),
    ("travel", True): (("subject", "poor"), ("subject", "sick"), ("subject", "old")),
    ("buy", True): (("object", "expensive"), ("subject", "poor"), ("object", "dirty")),
    ("sell", True): (("object", "beautiful"), ("subject", "rich")),
    ("carry", True): (("object", "heavy"), ("subject", "tired"), ("subject", "sick")),
    ("eat", True): (("subject", "sick"),),
    ("wash", True): (("object", "clean"),),
    ("clean_v", True): (("object", "clean"),),
    ("repair", True): (("object", "new"), ("subject", "tired")),
    ("read", True): (("object", "long"), ("subject", "tired")),
    ("steal", True): (("object", "cheap"), ("subject", "rich")),
    ("help", True): (("subject", "sick"), ("subject", "tired")),
}
