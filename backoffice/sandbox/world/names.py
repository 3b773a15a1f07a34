"""Names and addresses of people who do not exist."""

import random

FIRST = (
    "Ada", "Alan", "Amara", "Anna", "Aisha", "Ben", "Carla", "Chen", "Clara", "David", "Diego",
    "Elena", "Emil", "Fatima", "Felix", "Grace", "Hanna", "Hugo", "Ines", "Ivan", "Jana", "Jonas",
    "Kenji", "Lea", "Liam", "Lucia", "Mara", "Marco", "Mei", "Mina", "Nadia", "Noah", "Olga",
    "Omar", "Paula", "Priya", "Rosa", "Sam", "Sofia", "Tariq", "Theo", "Vera", "Yuki", "Zoe",
)  # fmt: skip
LAST = (
    "Adler", "Bauer", "Becker", "Brown", "Castro", "Chavez", "Cohen", "Costa", "Diaz", "Ekman",
    "Fischer", "Garcia", "Gupta", "Haddad", "Hansen", "Ito", "Jansen", "Jones", "Kaya", "Keller",
    "Kim", "Kowalski", "Lang", "Larsen", "Lee", "Lopez", "Martin", "Meyer", "Moreau", "Nguyen",
    "Novak", "Okafor", "Olsen", "Park", "Patel", "Popescu", "Rossi", "Santos", "Schmidt", "Silva",
    "Smith", "Suzuki", "Tanaka", "Weber", "Wilson", "Wong", "Yilmaz", "Zhang",
)  # fmt: skip


def person(rng: random.Random, number: int) -> tuple[str, str]:
    """(name, email address); the address is unique, except that one in a hundred is shared."""
    first, last = rng.choice(FIRST), rng.choice(LAST)
    if number and rng.random() < 0.01:
        return f"{first} {last}", f"office{number // 100}@example.com"
    return f"{first} {last}", f"{first}.{last}{number}@example.com".lower()
