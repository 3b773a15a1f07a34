"""`make drill-network`."""

import django


def main() -> None:
    django.setup()
    from tests.network.cutting import main as drill

    drill()


if __name__ == "__main__":
    main()
