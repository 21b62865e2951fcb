"""Which check catches a broken driver soonest, where that is not the first of its clause; measured.

Nothing depends on it but time: after this check, the others of the clause are tried.
"""

from __future__ import annotations

__all__ = ["QUICKEST"]

#: By clause and name of the broken driver.
QUICKEST = {
    (
        "B16",
        "notices the end of a hold only when somebody asks anew",
    ): "test_the_end_of_a_hold_wakes_a_receive",
    ("B1", "returns before the service has the message"): "test_what_changes_after_publish_changes_no_message",
    ("B5", "drops a message whose id it has seen"): "test_the_same_message_twice_is_carried_twice",
    ("B8", "waits for the first queue before it asks the next one"): "test_an_empty_queue_keeps_nobody_waiting",
    ("B11", "waits until it has as many as were asked for"): "test_it_does_not_wait_for_more_than_there_is",
    ("B12", "polls busily in a thread of its own"): "test_waiting_uses_no_processor",
    ("B12", "polls with a pause of half a millisecond"): "test_waiting_uses_no_processor",
    ("B12", "polls without a pause"): "test_waiting_uses_no_processor",
    (
        "B15",
        "ignores an acknowledgement after the hold has ended",
    ): "test_an_acknowledgement_after_the_hold_has_ended_counts",
    ("B17", "prolongs no more after the first that is lost"): "test_extend_answers_for_each",
    ("B17", "says of every message that it is still held"): "test_extend_answers_for_each",
    ("B19", "lets a late worker prolong its hold"): "test_a_late_extend_changes_nothing_and_says_so",
    ("B19", "lets a late worker put a message aside"): "test_a_late_dead_letter_changes_nothing",
    ("B21", "settles the first ten of a batch"): "test_a_batch_of_many_is_settled",
    ("B26", "takes an ETA in the past for one without end"): "test_an_eta_in_the_past_means_at_once",
    ("B28", "cuts reasons at 255 bytes"): "test_large_letters_and_long_reasons_are_kept",
    ("B28", "drops dead letters"): "test_large_letters_and_long_reasons_are_kept",
    ("B28", "forgets the priority of dead letters"): "test_the_dead_are_kept_as_they_were_with_reason_and_time",
    ("B28", "keeps an older reason"): "test_the_newest_reason_stands",
    ("B28", "keeps dead bodies as text"): "test_the_dead_are_kept_as_they_were_with_reason_and_time",
    ("B28", "keeps no headers but its own"): "test_the_dead_are_kept_as_they_were_with_reason_and_time",
    ("B28", "keeps the first line of a reason"): "test_the_dead_are_kept_as_they_were_with_reason_and_time",
    ("B28", "tells no time"): "test_the_newest_reason_stands",
    ("B34", "cannot purge delayed messages"): "test_what_was_purged_does_not_come_back",
    (
        "B41",
        "waits for ever for an answer when the service goes away",
    ): "test_a_receive_that_waits_notices_that_the_service_goes_away",
    ("R12", "adds a renewal to what is left"): "test_a_renewed_lease_counts_from_now",
    ("R12", "renews for whoever asks"): "test_a_renewal_answers_whether_the_run_holds_its_task",
    ("R12", "says that it has renewed, and has not"): "test_a_lease_that_ended_unnoticed_is_renewed",
    (
        "R12",
        "says to a run that was cancelled that it goes on",
    ): "test_a_renewal_answers_whether_the_run_holds_its_task",
    ("R17", "is woken by every end"): "test_nothing_else_wakes_a_wait",
    ("R17", "takes another's end for that of the task"): "test_nothing_else_wakes_a_wait",
    ("R26", "counts milliseconds in 32 bits"): "test_what_is_for_ever_is_there_in_a_hundred_years",
    ("R26", "keeps nothing for ever"): "test_what_is_for_ever_is_there_in_a_hundred_years",
    ("R26", "reads more than thirty days as a date"): "test_what_is_for_ever_is_there_in_a_hundred_years",
    ("R26", "reads zero as for ever"): "test_what_has_expired_is_as_if_it_had_never_been",
    ("R26", "shows what has expired until it is swept"): "test_a_retention_of_zero_means_at_once",
    (
        "R27",
        "remembers the end of a record that was forgotten",
    ): "test_a_record_of_an_id_that_is_used_again_does_not_go",
    ("R28", "does not settle what is kept for ever"): "test_shortening_to_zero_means_at_once",
    ("R28", "puts the end off when it settles"): "test_shortening_never_puts_the_end_off",
    ("R28", "settles nothing at zero"): "test_shortening_to_zero_means_at_once",
    ("R28", "settles what has not ended"): "test_shortening_to_zero_means_at_once",
    ("L2", "reads more than thirty days as a date"): "test_a_long_time_is_not_cut_short",
    ("L3", "adds a renewal to what is left"): "test_a_renewed_lock_is_held_on",
    ("L3", "makes a lock of one that it does not know"): "test_only_its_holder_renews_it",
    ("L3", "prolongs the lock of another when it refuses"): "test_only_its_holder_renews_it",
    ("L3", "renews for anybody"): "test_only_its_holder_renews_it",
    ("L3", "says that it has renewed, and has not"): "test_a_renewed_lock_is_held_on",
    ("L4", "keeps a lock that was released until it ends"): "test_a_released_lock_may_be_taken_at_once",
    ("L4", "lets a lock go for anybody"): "test_only_its_holder_releases_it",
    ("L4", "says that it has let a lock go whoever asks"): "test_a_released_lock_may_be_taken_at_once",
    ("L5", "counts from one in each object"): "test_every_sequence_of_calls_goes_as_the_model_says",
    ("L5", "counts from one when a lock was released"): "test_every_sequence_of_calls_goes_as_the_model_says",
    ("L5", "counts from one when it has swept"): "test_tokens_grow",
    ("L5", "counts tokens from one after a restart"): "test_tokens_grow_across_a_restart",
    ("L5", "gives every holder the same token"): "test_every_sequence_of_calls_goes_as_the_model_says",
    (
        "W3",
        "tells every late finisher that the group is complete",
    ): "test_members_that_end_together_complete_their_chord_once",
    (
        "W4",
        "counts on without what it has dropped",
    ): "test_who_waits_around_a_group_that_a_cache_has_dropped_is_told",
    ("W6", "forgets the rest of a delay beyond its longest"): "test_a_delay_beyond_the_longest_of_the_broker_is_kept",
    ("W10", "acknowledges at receipt"): "test_a_worker_that_is_stopped_gives_back_what_it_runs",
    ("W11", "delivers a message once only"): "test_replies_that_are_lost_again_and_again_change_nothing",
    (
        "W11",
        "takes a repeated acknowledgement for another",
    ): "test_replies_that_are_lost_again_and_again_change_nothing",
    ("W12", "overwrites a terminal state by a late start"): "test_messages_that_come_late_run_nothing_again",
    ("W15", "forgets a group with its first member"): "test_a_short_retention_outlasts_what_is_unfinished",
    ("W15", "reads a retention of zero as none"): "test_a_short_retention_outlasts_what_is_unfinished",
    (
        "W19",
        "lets holds end by themselves in place of a release",
    ): "test_a_worker_that_is_stopped_gives_back_what_it_runs",
    ("W19", "loses what is released"): "test_a_worker_that_is_stopped_gives_back_what_it_runs",
}
