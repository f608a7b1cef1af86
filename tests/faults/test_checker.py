"""The checker sees each broken promise, and nothing where all were kept."""

from __future__ import annotations

from app.faults.checker import check, position, torn
from app.faults.evidence import Audited, Changed, Evidence, Letter, Live, PurseLeft, Rebuilt
from app.faults.history import Broken, Call, Frame, Gate, Probe
from tests.faults.telling import ACCOUNT, call, evidence, followed, row, terminal, word, words


def broken(history: list[Call | Broken | Probe | Gate], found: Evidence) -> set[str]:
    return {finding.invariant for finding in check(history, found).findings}


def test_where_all_promises_were_kept_nothing_is_found() -> None:
    verdict = check([call()], evidence())
    assert verdict.good
    assert (verdict.figures.promised, verdict.figures.terminals, verdict.figures.provider_calls) == (1, 1, 1)


def test_a_promised_request_without_a_terminal_is_lost() -> None:
    nothing = evidence(terminals=(), usage=(), requests=(), live=())
    assert broken([call()], nothing) == {"I1"}


def test_a_client_that_finds_nothing_of_what_it_was_promised_has_lost_it() -> None:
    assert broken([call(seen="missing", final=None)], evidence()) == {"I1"}


def test_a_client_that_is_told_another_end_than_the_recorded_one_was_deceived() -> None:
    assert broken([call()], evidence(terminals=(terminal(outcome="cancelled"),))) == {"I1"}


def test_a_request_that_was_never_promised_may_end_once() -> None:
    assert broken([call(seen="unknown", promised=(), final=None)], evidence()) == set()


def test_a_request_that_was_never_promised_must_not_end_twice() -> None:
    twice = evidence(
        terminals=(terminal(), terminal(entry="2-0", event="e2", billable=False)),
        requests=(row(), row(event="e2")),
    )
    assert broken([call(seen="unknown", promised=(), final=None)], twice) == {"I8"}


def test_two_requests_under_one_key_are_one_too_many() -> None:
    two = evidence(
        terminals=(terminal(), terminal(entry="2-0", event="e2", request="req_2")),
        usage=(row(), row(event="e2", request="req_2")),
        requests=(row(), row(event="e2", request="req_2")),
    )
    assert broken([call(kind="keyed", promised=("req_1", "req_2"))], two) == {"I8"}


def test_a_billable_end_without_a_usage_row_is_found_and_the_sum_is_wrong() -> None:
    assert broken([call()], evidence(usage=())) == {"I2", "I3"}


def test_a_second_usage_row_is_found() -> None:
    assert broken([call()], evidence(usage=(row(), row()))) == {"I2", "I3"}


def test_a_usage_row_for_what_is_not_billable_is_found() -> None:
    assert "I2" in broken([call()], evidence(terminals=(terminal(billable=False),)))


def test_a_wrong_charge_is_found_to_the_nano_dollar() -> None:
    assert broken([call()], evidence(usage=(row(cost_nanousd=20),))) == {"I3"}


def test_a_place_that_is_held_for_ever_is_found() -> None:
    assert broken([call()], evidence(open_left=1)) == {"I4"}


def test_a_reservation_that_is_left_is_found() -> None:
    assert broken([call()], evidence(holds_left=1)) == {"I4"}
    left = PurseLeft(account=ACCOUNT, held_nanousd=1, spent_nanousd=19)
    assert broken([call()], evidence(purses=(left,))) == {"I4"}


def test_a_balance_of_which_more_or_less_was_taken_than_was_used_is_found() -> None:
    assert broken([call()], evidence(purses=(PurseLeft(account=ACCOUNT, held_nanousd=0, spent_nanousd=19),))) == set()
    assert broken([call()], evidence(purses=(PurseLeft(account=ACCOUNT, held_nanousd=0, spent_nanousd=18),))) == {"I3"}


def test_a_last_word_of_an_attempt_that_was_over_is_found() -> None:
    assert broken([call()], evidence(live=(Live(request="req_1", attempts=(1, 2), ends=(1,)),))) == {"I5"}


def test_two_last_words_are_found() -> None:
    assert broken([call()], evidence(live=(Live(request="req_1", attempts=(1,), ends=(1, 1)),))) == {"I5"}


def test_a_later_attempt_may_say_the_last_word() -> None:
    assert broken([call()], evidence(live=(Live(request="req_1", attempts=(1, 2), ends=(2,)),))) == set()


def test_what_is_left_in_the_queue_is_found() -> None:
    assert broken([call()], evidence(drained=False, commands_left=1, pending_left=1)) == {"I6"}


def test_what_was_parked_must_have_ended_as_parked_and_the_other_way_round() -> None:
    letter = (Letter(request="req_1", why="delivered 6 times"),)
    given_up = (terminal(outcome="failed", why="parked"),)
    told = call(seen="failed", final=None)
    assert broken([told], evidence(terminals=given_up, parked=letter)) == set()
    assert broken([told], evidence(terminals=given_up)) == {"I6"}
    assert broken([call()], evidence(parked=letter)) == {"I6"}


def test_a_projection_that_is_made_anew_otherwise_is_found() -> None:
    assert broken([call()], evidence(rebuilt=(Rebuilt(projection="usage", equal=False),))) == {"I7"}


def test_a_terminal_that_a_projection_has_missed_is_found() -> None:
    assert broken([call()], evidence(requests=())) == {"I7"}


def test_a_row_under_another_account_is_found() -> None:
    assert broken([call()], evidence(requests=(row(account="another"),))) == {"I9"}


def test_another_accounts_request_must_be_as_unknown_as_none() -> None:
    assert broken([call(), Probe(request="req_1", status=404)], evidence()) == set()
    assert broken([call(), Probe(request="req_1", status=200)], evidence()) == {"I9"}


def test_words_of_another_question_are_found() -> None:
    assert "I9" in broken([call(final=words(3, question="q2"))], evidence())


def test_a_change_without_an_audit_row_and_a_broken_chain_are_found() -> None:
    made = Changed(action="key.created", subject="k1")
    kept = Audited(event="f1", action="key.created", subject="k1")
    assert broken([call()], evidence(changed=(made,), told=("f1",), audit=(kept,))) == set()
    assert broken([call()], evidence(changed=(made,))) == {"I10"}
    assert broken([call()], evidence(told=("f1",))) == {"I10"}
    assert broken([call()], evidence(told=("f1",), audit=(kept, kept))) == {"I10"}
    assert broken([call()], evidence(chain=("partition 0, row 2: it is not what was written",))) == {"I10"}


def test_a_revoked_key_that_opens_something_and_a_limit_that_is_passed_are_found() -> None:
    shut = Gate(revoked={401: 9, 0: 1}, limited={202: 5, 429: 5}, admitted=5, allowed=5)
    assert broken([call(), shut], evidence()) == set()
    assert broken([call(), shut.model_copy(update={"revoked": {401: 9, 202: 1}})], evidence()) == {"G"}
    assert broken([call(), shut.model_copy(update={"admitted": 6})], evidence()) == {"G"}


def test_an_answer_that_is_not_whole_is_found() -> None:
    assert broken([call(final=words(2))], evidence()) == {"T"}


def test_a_text_of_two_calls_is_found() -> None:
    assert torn(words(2, call=1) + words(1, call=2, start=2)) is not None


def test_a_gap_and_a_repeat_are_found() -> None:
    assert torn(words(1) + words(1, start=2)) is not None
    assert torn(words(2) + words(1, start=1)) is not None


def test_a_beginning_hangs_together() -> None:
    assert torn(words(2)) is None
    assert torn("") is None


def test_a_followed_stream_that_begins_anew_shows_one_life_after_the_other() -> None:
    frames = (
        word("1-0.1", words(1)),
        Frame(id="2-0.0", kind="restarted"),
        word("2-0.1", words(2, call=2)),
        word("3-0.1", words(1, call=2, start=2)),
        Frame(id="4-0", kind="end"),
    )
    assert broken([followed(*frames, final=words(3, call=2))], evidence()) == set()


def test_a_followed_stream_that_mixes_two_lives_is_found() -> None:
    frames = (word("1-0.1", words(1)), word("2-0.1", words(2, call=2, start=1)), Frame(id="4-0", kind="end"))
    assert broken([followed(*frames, final=words(3, call=2))], evidence()) == {"T"}


def test_an_event_that_comes_twice_is_found() -> None:
    frames = (word("1-0.1", words(1)), word("1-0.1", ""), word("2-0.1", words(2, start=1)))
    assert broken([followed(*frames, final=words(3))], evidence()) == {"T"}


def test_a_followed_stream_that_ends_short_of_the_answer_is_found() -> None:
    assert broken([followed(word("1-0.1", words(2)), final=words(3))], evidence()) == {"T"}


def test_the_ids_of_events_have_an_order() -> None:
    assert position("1-0.0") < position("1-0.1") < position("1-0") < position("1-1.1") < position("2-0")


def test_a_call_that_was_made_again_is_counted_and_explained_by_its_attempt() -> None:
    again = evidence(asked={"q1": 2}, live=(Live(request="req_1", attempts=(1, 2), ends=(2,)),))
    figures = check([call(), Broken(fault="worker", at_s=0.5, target="worker-1", held=3)], again).figures
    assert (figures.provider_calls_repeated, figures.provider_calls_unexplained) == (1, 0)
    assert (figures.faults, figures.commands_hit) == ({"worker": 1}, 3)


def test_a_call_that_no_attempt_explains_is_counted_as_that() -> None:
    assert check([call()], evidence(asked={"q1": 2})).figures.provider_calls_unexplained == 1
