"""What explains what the product says, and what counts as found."""

from backoffice.drill.faults import ANY, Fault, Names, Place, Word, mentions, places

BALANCE = places(Place.FINDING, "balance_differs")


def fault(*about: str, shown: Names = frozenset(), explains: Names = frozenset()) -> Fault:
    return Fault(1, "tampered", "something", frozenset(about), "1", shown, explains)


def finding(name: str, *about: str) -> Word:
    return Word(Place.FINDING, name, frozenset(about))


def test_it_is_found_by_a_word_about_what_it_hit_in_one_of_its_places() -> None:
    broken = fault("user-1", shown=BALANCE, explains=places(Place.ALERT, "ledger"))
    assert not broken.hear(finding("balance_differs", "user-2"))
    assert not broken.hear(finding("raw_sql", "user-1"))
    assert broken.hear(Word(Place.ALERT, "ledger"))  # explained by it, and yet not found
    assert not broken.is_found
    assert broken.hear(finding("balance_differs", "user-1", "cus_1"))
    assert broken.is_found


def test_any_name_will_do_where_the_place_alone_counts() -> None:
    broken = fault("evt_1", shown=places(Place.RECOVERY, ANY))
    assert broken.hear(Word(Place.RECOVERY, "unstored", frozenset({"evt_1"})))
    assert broken.is_found


def test_what_is_to_be_absorbed_is_found_only_if_all_is_well_in_the_end() -> None:
    broken = fault("user-1")
    assert broken.is_absorbed
    assert not broken.is_found
    assert "NOT ABSORBED, NOT REPAIRED" in str(broken)
    broken.is_repaired = True
    assert broken.is_found
    assert "absorbed, repaired" in str(broken)


def test_what_was_over_before_anybody_looked_needs_no_word() -> None:
    broken = fault("user-1", shown=BALANCE)
    broken.is_repaired = True
    assert not broken.is_found
    assert "NOT FOUND" in str(broken)
    broken.is_over = True
    assert broken.is_found


def test_a_difference_names_an_id_only_as_a_whole() -> None:
    line = "lead_credits user-12: here {'amount': '3'}, at Stripe None"
    assert mentions(line, ["user-12"])
    assert not mentions(line, ["user-1"])
    assert mentions("billing_inbox evt_1: charge.succeeded", {"evt_1"})
