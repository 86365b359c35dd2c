"""The closed world the demo model knows: people, places, things, words and their French.

Everything is a plain constant, so every generator draws from the same small vocabulary.
"""

NAMES = """Ann Ben Carla David Emma Felix Grace Henry Iris Jack Kate Leo Maria Noah Olga Paul
Quinn Rosa Sam Tina Uma Victor Wendy Yara Zoe Alice Bruno Clara Diego Elena Frank Gina Hugo Ivan
Julia Karl Laura Marco Nina Oscar""".split()

# country: (capital, continent, language, French country with its article, French capital)
COUNTRIES = {
    "France": ("Paris", "Europe", "French", "la France", "Paris"),
    "Italy": ("Rome", "Europe", "Italian", "l'Italie", "Rome"),
    "Spain": ("Madrid", "Europe", "Spanish", "l'Espagne", "Madrid"),
    "Germany": ("Berlin", "Europe", "German", "l'Allemagne", "Berlin"),
    "Portugal": ("Lisbon", "Europe", "Portuguese", "le Portugal", "Lisbonne"),
    "Austria": ("Vienna", "Europe", "German", "l'Autriche", "Vienne"),
    "Poland": ("Warsaw", "Europe", "Polish", "la Pologne", "Varsovie"),
    "Greece": ("Athens", "Europe", "Greek", "la Grèce", "Athènes"),
    "Norway": ("Oslo", "Europe", "Norwegian", "la Norvège", "Oslo"),
    "Sweden": ("Stockholm", "Europe", "Swedish", "la Suède", "Stockholm"),
    "Finland": ("Helsinki", "Europe", "Finnish", "la Finlande", "Helsinki"),
    "Denmark": ("Copenhagen", "Europe", "Danish", "le Danemark", "Copenhague"),
    "Ireland": ("Dublin", "Europe", "English", "l'Irlande", "Dublin"),
    "Hungary": ("Budapest", "Europe", "Hungarian", "la Hongrie", "Budapest"),
    "Japan": ("Tokyo", "Asia", "Japanese", "le Japon", "Tokyo"),
    "China": ("Beijing", "Asia", "Chinese", "la Chine", "Pékin"),
    "Thailand": ("Bangkok", "Asia", "Thai", "la Thaïlande", "Bangkok"),
    "Vietnam": ("Hanoi", "Asia", "Vietnamese", "le Vietnam", "Hanoï"),
    "Turkey": ("Ankara", "Asia", "Turkish", "la Turquie", "Ankara"),
    "Egypt": ("Cairo", "Africa", "Arabic", "l'Égypte", "Le Caire"),
    "Kenya": ("Nairobi", "Africa", "Swahili", "le Kenya", "Nairobi"),
    "Morocco": ("Rabat", "Africa", "Arabic", "le Maroc", "Rabat"),
    "Ghana": ("Accra", "Africa", "English", "le Ghana", "Accra"),
    "Senegal": ("Dakar", "Africa", "French", "le Sénégal", "Dakar"),
    "Canada": ("Ottawa", "America", "English", "le Canada", "Ottawa"),
    "Mexico": ("Mexico City", "America", "Spanish", "le Mexique", "Mexico"),
    "Brazil": ("Brasilia", "America", "Portuguese", "le Brésil", "Brasilia"),
    "Peru": ("Lima", "America", "Spanish", "le Pérou", "Lima"),
    "Chile": ("Santiago", "America", "Spanish", "le Chili", "Santiago"),
    "Cuba": ("Havana", "America", "Spanish", "Cuba", "La Havane"),
}
CAPITALS = [fact[0] for fact in COUNTRIES.values()]
CITIES = [c for c in CAPITALS if " " not in c] + ["Lyon", "Milan", "Porto", "Bergen", "Kyoto", "Boston"]
CONTINENTS = ["Europe", "Asia", "Africa", "America"]

JOBS = """teacher doctor nurse driver baker pilot farmer singer painter lawyer cook writer dentist
tailor""".split()

# English noun: (French noun, gender, French plural); the things people own, count and put somewhere
NOUNS = {
    "dog": ("chien", "m", "chiens"), "cat": ("chat", "m", "chats"), "bird": ("oiseau", "m", "oiseaux"),
    "horse": ("cheval", "m", "chevaux"), "fish": ("poisson", "m", "poissons"), "cow": ("vache", "f", "vaches"),
    "book": ("livre", "m", "livres"), "pen": ("stylo", "m", "stylos"), "table": ("table", "f", "tables"),
    "chair": ("chaise", "f", "chaises"), "lamp": ("lampe", "f", "lampes"), "cup": ("tasse", "f", "tasses"),
    "phone": ("téléphone", "m", "téléphones"), "bike": ("vélo", "m", "vélos"), "bag": ("sac", "m", "sacs"),
    "hat": ("chapeau", "m", "chapeaux"), "clock": ("horloge", "f", "horloges"), "knife": ("couteau", "m", "couteaux"),
    "spoon": ("cuillère", "f", "cuillères"), "plate": ("assiette", "f", "assiettes"), "ring": ("bague", "f", "bagues"),
    "door": ("porte", "f", "portes"), "key": ("clé", "f", "clés"), "box": ("boîte", "f", "boîtes"),
    "car": ("voiture", "f", "voitures"), "house": ("maison", "f", "maisons"), "apple": ("pomme", "f", "pommes"),
    "pear": ("poire", "f", "poires"), "cake": ("gâteau", "m", "gâteaux"), "garden": ("jardin", "m", "jardins"),
    "boat": ("bateau", "m", "bateaux"), "shirt": ("chemise", "f", "chemises"),
}
PLURALS = {noun: noun + "s" for noun in NOUNS} | {"fish": "fish", "knife": "knives", "box": "boxes"}

# English colour: (French masculine, French feminine)
COLORS = {
    "red": ("rouge", "rouge"), "blue": ("bleu", "bleue"), "green": ("vert", "verte"), "black": ("noir", "noire"),
    "white": ("blanc", "blanche"), "yellow": ("jaune", "jaune"), "grey": ("gris", "grise"), "pink": ("rose", "rose"),
}
NUMBERS = {
    "one": "un", "two": "deux", "three": "trois", "four": "quatre", "five": "cinq", "six": "six",
    "seven": "sept", "eight": "huit", "nine": "neuf", "ten": "dix",
}
DAYS = {
    "Monday": "lundi", "Tuesday": "mardi", "Wednesday": "mercredi", "Thursday": "jeudi", "Friday": "vendredi",
    "Saturday": "samedi", "Sunday": "dimanche",
}
MONTHS = """January February March April May June July August September October November
December""".split()
PLACES = {"on": "sur", "under": "sous", "behind": "derrière", "near": "près de"}
OPPOSITES = {
    "hot": "cold", "big": "small", "fast": "slow", "old": "new", "open": "closed", "full": "empty",
    "light": "dark", "high": "low", "happy": "sad", "early": "late", "rich": "poor", "wet": "dry",
}
ADJECTIVES = sorted(set(OPPOSITES) | set(OPPOSITES.values()))
VERBS = """sees likes wants sells buys finds takes paints cleans brings""".split()
WORDS = sorted(set(NOUNS) | set(COLORS) | set(NUMBERS) | set(ADJECTIVES) | set(VERBS) | set(JOBS) | {
    "the", "a", "and", "with", "my", "your", "here", "today", "tomorrow", "very"})

# Words that the base only ever repeats; an adapter may give them a use.
SPARE_WORDS = """SELECT FROM WHERE AND ORDER BY DESC ASC COUNT AVG MAX MIN SUM LIMIT name age city job salary
price stock color capital continent population customer product quantity employees products countries
orders id billing shipping login bug refund feature P1 P2 P3 est sont a le la les un une de du des sur sous
derrière près dans capitale Le La Les j'aime est-ce mange aime voit veut vend achète trouve aujourd'hui
demain nous sommes parle on en pays langue continent message error card order page app""".split()

# (singular, plural, size in smaller units, smaller plural)
UNITS = [
    ("hour", "hours", 60, "minutes"), ("minute", "minutes", 60, "seconds"), ("day", "days", 24, "hours"),
    ("week", "weeks", 7, "days"), ("year", "years", 12, "months"), ("meter", "meters", 100, "centimeters"),
    ("kilometer", "kilometers", 1000, "meters"), ("kilogram", "kilograms", 1000, "grams"),
    ("liter", "liters", 10, "deciliters"), ("dozen", "dozens", 12, "pieces"),
]
