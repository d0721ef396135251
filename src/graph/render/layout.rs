//! Where boxes and lines of a picture go: columns from left to right, each step to the right of everything it needs.
//!
//! The usual way in layers (Sugiyama): columns by the longest way, points where a long line passes a column, an order
//! within columns that keeps lines from crossing, then heights that keep lines straight. All of it is arithmetic on
//! small graphs; nothing here knows what is drawn.

/// Pixels of a box, and between boxes.
const BOX_HEIGHT: f64 = 32.0;
const GAP: f64 = 14.0;
const COLUMN_GAP: f64 = 64.0;
const MARGIN: f64 = 16.0;
const SWEEPS: usize = 12;

/// What is to be laid out: the width of each box, and lines between boxes, from need to dependent.
pub(super) struct Input<'a> {
    pub widths: &'a [f64],
    pub lines: &'a [(usize, usize)],
}

/// A box: its upper left corner and its size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// Where everything is.
pub(super) struct Layout {
    pub boxes: Vec<Rect>,
    /// For each line of the input, the path of an SVG.
    pub paths: Vec<String>,
    pub width: f64,
    pub height: f64,
}

/// A box, or a point where a line passes through a column.
struct Item {
    column: usize,
    width: f64,
    height: f64,
    y: f64,
    left: Vec<usize>,
    right: Vec<usize>,
}

/// Lays out a picture. Lines that lead backwards (which only groups of steps have) do not count for it.
pub(super) fn layout(input: &Input<'_>) -> Layout {
    let boxes = input.widths.len();
    let columns = columns(boxes, input.lines);
    let mut items: Vec<Item> = (0..boxes)
        .map(|index| Item {
            column: columns[index],
            width: input.widths[index],
            height: BOX_HEIGHT,
            y: 0.0,
            left: Vec::new(),
            right: Vec::new(),
        })
        .collect();
    let ways: Vec<Vec<usize>> = input.lines.iter().map(|(from, to)| way(&mut items, *from, *to)).collect();
    let count = items.iter().map(|item| item.column + 1).max().unwrap_or_default();
    let mut order: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (index, item) in items.iter().enumerate() {
        order[item.column].push(index);
    }
    untangle(&items, &mut order);
    straighten(&mut items, &order);

    let widths: Vec<f64> =
        order.iter().map(|column| column.iter().map(|item| items[*item].width).fold(0.0, f64::max)).collect();
    let mut starts = Vec::with_capacity(count);
    let mut x = MARGIN;
    for width in &widths {
        starts.push(x);
        x += width + COLUMN_GAP;
    }
    let height = items.iter().map(|item| item.y + item.height).fold(0.0, f64::max) + MARGIN;
    let rect = |item: &Item| Rect { x: starts[item.column], y: item.y, width: item.width, height: item.height };
    Layout {
        boxes: items[..boxes].iter().map(rect).collect(),
        paths: ways.iter().map(|way| path(&items, way, &starts, &widths)).collect(),
        width: (x - COLUMN_GAP + MARGIN).max(2.0 * MARGIN),
        height,
    }
}

/// The column of each box: one more than the last of its needs.
fn columns(boxes: usize, lines: &[(usize, usize)]) -> Vec<usize> {
    let mut open = vec![0_usize; boxes];
    let mut to: Vec<Vec<usize>> = vec![Vec::new(); boxes];
    for (need, dependent) in lines {
        open[*dependent] += 1;
        to[*need].push(*dependent);
    }
    let mut column = vec![0; boxes];
    let mut done = vec![false; boxes];
    let mut ready: Vec<usize> = (0..boxes).filter(|index| open[*index] == 0).collect();
    let mut rest = 0..boxes;
    loop {
        while let Some(index) = ready.pop() {
            done[index] = true;
            for next in &to[index] {
                open[*next] -= 1;
                if !done[*next] {
                    column[*next] = column[*next].max(column[index] + 1);
                    if open[*next] == 0 {
                        ready.push(*next);
                    }
                }
            }
        }
        // A circle of groups: it is opened at its first.
        match rest.find(|index| !done[*index]) {
            Some(index) => ready.push(index),
            None => return column,
        }
    }
}

/// The items that a line passes, with a point in each column on its way.
fn way(items: &mut Vec<Item>, from: usize, to: usize) -> Vec<usize> {
    let mut way = vec![from];
    for column in items[from].column + 1..items[to].column {
        let item = Item { column, width: 0.0, height: 4.0, y: 0.0, left: Vec::new(), right: Vec::new() };
        items.push(item);
        way.push(items.len() - 1);
    }
    way.push(to);
    if items[from].column < items[to].column {
        for pair in way.windows(2) {
            items[pair[0]].right.push(pair[1]);
            items[pair[1]].left.push(pair[0]);
        }
    }
    way
}

/// Orders each column by the middle of its neighbours, back and forth.
fn untangle(items: &[Item], order: &mut [Vec<usize>]) {
    let mut place = vec![0.0_f64; items.len()];
    let settle = |column: &[usize], place: &mut [f64]| {
        column.iter().enumerate().for_each(|(at, item)| place[*item] = at as f64);
    };
    order.iter().for_each(|column| settle(column, &mut place));
    for sweep in 0..SWEEPS {
        let forwards = sweep % 2 == 0;
        let count = order.len();
        for step in 0..count {
            let column = &mut order[if forwards { step } else { count - 1 - step }];
            let key = |item: &usize| {
                let neighbours = if forwards { &items[*item].left } else { &items[*item].right };
                mean(neighbours.iter().map(|other| place[*other])).unwrap_or(place[*item])
            };
            let mut keyed: Vec<(f64, usize)> = column.iter().map(|item| (key(item), *item)).collect();
            keyed.sort_by(|one, other| one.0.total_cmp(&other.0));
            *column = keyed.into_iter().map(|(_, item)| item).collect();
            settle(column, &mut place);
        }
    }
}

/// Heights: as near to the neighbours as the order and the gaps allow.
fn straighten(items: &mut [Item], order: &[Vec<usize>]) {
    for column in order {
        let mut y = MARGIN;
        for item in column {
            items[*item].y = y;
            y += items[*item].height + GAP;
        }
    }
    for sweep in 0..SWEEPS {
        let count = order.len();
        for step in 0..count {
            let column = &order[if sweep % 2 == 0 { step } else { count - 1 - step }];
            let wished: Vec<f64> = column
                .iter()
                .map(|item| {
                    let item = &items[*item];
                    let middle = |other: &usize| items[*other].y + items[*other].height / 2.0;
                    mean(item.left.iter().chain(&item.right).map(middle)).map_or(item.y, |y| y - item.height / 2.0)
                })
                .collect();
            let heights: Vec<f64> = column.iter().map(|item| items[*item].height + GAP).collect();
            for (item, y) in column.iter().zip(nearest_in_order(&wished, &heights)) {
                items[*item].y = y;
            }
        }
    }
    let top = items.iter().map(|item| item.y).fold(f64::INFINITY, f64::min);
    items.iter_mut().for_each(|item| item.y += MARGIN - top);
}

/// Positions in the order of the wishes, each at least its height after the one before, the sum of squares of the
/// distances to the wishes as small as can be: neighbours that would overlap become a block at the mean of its wishes.
fn nearest_in_order(wished: &[f64], heights: &[f64]) -> Vec<f64> {
    struct Block {
        start: f64,
        sum: f64,
        members: usize,
        height: f64,
    }
    let mut blocks: Vec<Block> = Vec::new();
    for (wish, height) in wished.iter().zip(heights) {
        let mut block = Block { start: *wish, sum: *wish, members: 1, height: *height };
        while let Some(before) = blocks.pop_if(|before| before.start + before.height > block.start) {
            // The wishes of the later block, for the start of the joined one.
            let sum = before.sum + block.sum - before.height * block.members as f64;
            let members = before.members + block.members;
            block = Block { start: sum / members as f64, sum, members, height: before.height + block.height };
        }
        blocks.push(block);
    }
    let mut positions = Vec::with_capacity(wished.len());
    for block in blocks {
        let mut y = block.start;
        for _ in 0..block.members {
            positions.push(y);
            y += heights[positions.len() - 1];
        }
    }
    positions
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// A curve from the right edge of the first item to the left edge of the last, through the points in between.
fn path(items: &[Item], way: &[usize], starts: &[f64], widths: &[f64]) -> String {
    let middle = |item: &Item| item.y + item.height / 2.0;
    let mut path = String::new();
    for pair in way.windows(2) {
        let (from, to) = (&items[pair[0]], &items[pair[1]]);
        let (x, y) = (starts[from.column] + from.width, middle(from));
        let (next_x, next_y) = (starts[to.column], middle(to));
        if path.is_empty() {
            path = format!("M{x:.0} {y:.0}");
        }
        // A narrow box, or a point, is followed by a straight line to the end of its column.
        let edge = (starts[from.column] + widths[from.column]).max(x);
        if edge > x && next_x > edge {
            path += &format!("H{edge:.0}");
        }
        let x = if next_x > edge { edge } else { x };
        let half = ((next_x - x) / 2.0).abs().max(24.0);
        path += &format!("C{:.0} {y:.0} {:.0} {next_y:.0} {next_x:.0} {next_y:.0}", x + half, next_x - half);
    }
    path
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn boxes_do_not_overlap_and_lines_lead_to_the_right(
            widths in prop::collection::vec(20.0..200.0_f64, 1..30),
            lines in prop::collection::vec((0..30_usize, 0..30_usize), 0..60),
            backwards in any::<bool>(),
        ) {
            let boxes = widths.len();
            let lines: Vec<_> = lines
                .into_iter()
                .map(|(from, to)| (from % boxes, to % boxes))
                .filter(|(from, to)| from < to || (backwards && from > to))
                .collect();
            let layout = layout(&Input { widths: &widths, lines: &lines });
            for (at, one) in layout.boxes.iter().enumerate() {
                prop_assert!(one.x >= 0.0 && one.y >= 0.0, "{one:?}");
                prop_assert!(one.x + one.width <= layout.width && one.y + one.height <= layout.height, "{one:?}");
                for other in &layout.boxes[at + 1..] {
                    let beside = one.x + one.width <= other.x || other.x + other.width <= one.x;
                    let above = one.y + one.height <= other.y + 0.01 || other.y + other.height <= one.y + 0.01;
                    prop_assert!(beside || above, "{one:?} {other:?}");
                }
            }
            if !backwards {
                for (from, to) in &lines {
                    prop_assert!(layout.boxes[*from].x + layout.boxes[*from].width < layout.boxes[*to].x);
                }
            }
            prop_assert_eq!(layout.paths.len(), lines.len());
        }
    }

    #[test]
    fn what_would_overlap_shares_the_middle_of_its_wishes() {
        assert_eq!(nearest_in_order(&[0.0, 0.0, 100.0], &[10.0, 10.0, 10.0]), [-5.0, 5.0, 100.0]);
        assert_eq!(nearest_in_order(&[10.0, 0.0], &[10.0, 10.0]), [0.0, 10.0]);
    }

    #[test]
    fn nothing_takes_no_room() {
        let layout = layout(&Input { widths: &[], lines: &[] });
        assert!(layout.boxes.is_empty() && layout.width > 0.0 && layout.height > 0.0);
    }
}
