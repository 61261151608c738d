//! Numbers as strokes, in the manner of a pocket calculator: seven segments a digit.

/// A stroke in a cell 3 wide and 6 high: from where to where.
pub(super) type Stroke = ((i32, i32), (i32, i32));

const TOP: Stroke = ((0, 0), (3, 0));
const RIGHT_ABOVE: Stroke = ((3, 0), (3, 3));
const RIGHT_BELOW: Stroke = ((3, 3), (3, 6));
const BOTTOM: Stroke = ((0, 6), (3, 6));
const LEFT_BELOW: Stroke = ((0, 3), (0, 6));
const LEFT_ABOVE: Stroke = ((0, 0), (0, 3));
const MIDDLE: Stroke = ((0, 3), (3, 3));

/// The strokes of a character of a number; none for any other.
pub(super) fn strokes(character: char) -> &'static [Stroke] {
    match character {
        '0' => &[TOP, RIGHT_ABOVE, RIGHT_BELOW, BOTTOM, LEFT_BELOW, LEFT_ABOVE],
        '1' => &[RIGHT_ABOVE, RIGHT_BELOW],
        '2' => &[TOP, RIGHT_ABOVE, MIDDLE, LEFT_BELOW, BOTTOM],
        '3' => &[TOP, RIGHT_ABOVE, MIDDLE, RIGHT_BELOW, BOTTOM],
        '4' => &[LEFT_ABOVE, MIDDLE, RIGHT_ABOVE, RIGHT_BELOW],
        '5' => &[TOP, LEFT_ABOVE, MIDDLE, RIGHT_BELOW, BOTTOM],
        '6' => &[TOP, LEFT_ABOVE, MIDDLE, LEFT_BELOW, RIGHT_BELOW, BOTTOM],
        '7' => &[TOP, RIGHT_ABOVE, RIGHT_BELOW],
        '8' => &[TOP, RIGHT_ABOVE, RIGHT_BELOW, BOTTOM, LEFT_BELOW, LEFT_ABOVE, MIDDLE],
        '9' => &[TOP, LEFT_ABOVE, MIDDLE, RIGHT_ABOVE, RIGHT_BELOW, BOTTOM],
        'e' => &[MIDDLE, ((3, 3), (3, 4)), ((0, 4), (3, 4)), LEFT_BELOW, BOTTOM],
        '-' => &[MIDDLE],
        '.' => &[((1, 6), (1, 6))],
        _ => &[],
    }
}
