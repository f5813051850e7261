from vpr_ros.base.image_order import DUPLICATE, LATE, NO_STAMP, STANDING, ImageOrder, clock_problem

S = 1_000_000_000
T0 = 1_700_000_000 * S


def _placed(pairs):
    order = ImageOrder()
    return [order.place(header, arrival) for header, arrival in pairs]


def test_good_stamps_are_used_as_they_are():
    """The header's stamp is the time of exposure: poses are looked up at it, not at the arrival."""
    placed = _placed([(T0 + i * S // 10, T0 + i * S // 10 + 70_000_000) for i in range(20)])
    assert [p.stamp_ns for p in placed] == [T0 + i * S // 10 for i in range(20)]
    assert all(p.taken and not p.problem and not p.back_ns for p in placed)


def test_images_without_a_stamp_get_their_arrival_time():
    """Drivers that leave the stamp zero froze the pose: every image had the time of the first."""
    placed = _placed([(0, T0 + i * S) for i in range(3)] + [(-5 * S, T0 + 3 * S)])
    assert [p.stamp_ns for p in placed] == [T0 + i * S for i in range(4)]
    assert all(p.taken and p.problem == NO_STAMP for p in placed)


def test_a_stamp_that_stands_is_advanced_and_soon_replaced_by_the_arrival():
    """A camera whose clock stopped an hour ago: after a second its images have the time at which they come."""
    stuck = T0 - 3600 * S
    placed = _placed([(stuck, T0 + i * S // 4) for i in range(8)])
    assert placed[0].stamp_ns == stuck and not placed[0].problem
    assert [p.stamp_ns for p in placed[1:4]] == [stuck + i * S // 4 for i in (1, 2, 3)]
    assert [p.stamp_ns for p in placed[4:]] == [T0 + i * S // 4 for i in (4, 5, 6, 7)]
    assert all(p.taken and p.problem == STANDING for p in placed[1:])


def test_stamps_of_whole_seconds_lose_no_image():
    """Ten images a second that share a stamp of whole seconds are ten images in order."""
    placed = _placed([(T0 + i // 10 * S, T0 + i * S // 10 + 50_000_000) for i in range(30)])
    assert all(p.taken and not p.back_ns for p in placed)
    stamps = [p.stamp_ns for p in placed]
    assert stamps == sorted(set(stamps))


def test_the_same_message_again_is_a_duplicate():
    """Two publishers or a relay send an image twice; the next image is in order all the same."""
    placed = _placed([(T0, T0), (T0, T0 + 1_000_000), (T0 + S, T0 + S), (0, T0 + 2 * S), (0, T0 + 2 * S)])
    assert [p.taken for p in placed] == [True, False, True, True, False]
    assert placed[1].problem == DUPLICATE and placed[4].problem == DUPLICATE


def test_a_driver_that_sends_its_last_image_again_costs_that_image_alone():
    """A camera that hiccups for a second repeats its last image: what comes next is in order, and no past is lost."""
    odd = T0 + 123_456_789
    pairs = [(odd, odd), (odd, odd + S // 2), (odd, odd + 12 * S // 10), (odd + 13 * S // 10, odd + 13 * S // 10)]
    placed = _placed(pairs)
    assert [p.problem for p in placed] == ["", DUPLICATE, DUPLICATE, ""]
    assert not any(p.back_ns for p in placed)
    stuck = _placed([(odd, odd + i * S // 2) for i in range(6)])
    assert [p.problem for p in stuck] == ["", DUPLICATE, DUPLICATE, STANDING, STANDING, STANDING]
    assert stuck[-1].stamp_ns == odd + 5 * S // 2


def test_an_overtaken_image_is_late_and_a_clock_that_jumps_back_starts_anew():
    """Half a second back is the network; two images of two seconds back are another clock: the past is forgotten."""
    placed = _placed([(T0, T0), (T0 - S // 2, T0 + 1), (T0 - 2 * S, T0 + 2), (T0 - S, T0 + 3), (T0 - S // 2, T0 + 4)])
    assert [p.taken for p in placed] == [True, False, False, True, True]
    assert placed[1].problem == placed[2].problem == LATE
    assert [p.back_ns for p in placed] == [0, 0, 0, S, 0]


def test_one_image_that_was_kept_for_long_costs_nothing_else():
    """A network that held one image for two seconds made the node forget where it was, and map another drive."""
    stamps = [T0, T0 + S, T0 + 2 * S, T0 - S, T0 + 3 * S, T0 - S, T0 - S, T0 + 4 * S]
    placed = _placed([(stamp, T0 + 3 * S + number) for number, stamp in enumerate(stamps)])
    assert [p.taken for p in placed] == [True, True, True, False, True, False, False, True]
    assert not any(p.back_ns for p in placed)


def test_stamps_far_from_the_clock_are_named_with_both_times():
    """A camera that was never set lives in 1970; the sentence gives both times so that the user sees which is wrong."""
    assert clock_problem(T0, T0 + 9 * S) == clock_problem(T0 + 2 * S, T0) == ""  # a slow link; a bag that plays fast
    assert "60 minutes after the clock" in clock_problem(T0 + 3600 * S, T0)  # another time zone
    assert "6 s after" in clock_problem(T0 + 6 * S, T0) and "11 s before" in clock_problem(T0 - 11 * S, T0)
    sentence = clock_problem(12 * S, T0)
    assert "53.9 years before the clock" in sentence and "12.000 s" in sentence and "2023-11-14" in sentence
    assert "2 days after" in clock_problem(T0 + 2 * 86_400 * S, T0)
