use super::*;

const EIGHT: Format = Format { bits: 8, chroma_across: 1, chroma_down: 1, full_range: false };
const FORMATS: [Format; 4] = [
    EIGHT,
    Format { bits: 10, ..EIGHT },
    Format { chroma_down: 0, full_range: true, ..EIGHT },
    Format { bits: 10, chroma_across: 0, chroma_down: 0, full_range: false },
];
const RECT: Rect = Rect { left: 10.4, top: 20.0, right: 70.0, bottom: 90.2 };

/// Pseudo-random samples within the bits of the format.
fn noise(picture: &Picture) -> Vec<u8> {
    let mut state = 7_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 16
    };
    let mut samples = Vec::new();
    while samples.len() < picture.bytes() {
        let value = next() & ((1 << picture.format.bits) - 1);
        let bytes = value.to_le_bytes();
        samples.extend_from_slice(&bytes[..picture.format.sample_bytes()]);
    }
    samples
}

/// The samples of a plane, by row and column.
fn plane(picture: &Picture, samples: &[u8], index: usize) -> Vec<Vec<u32>> {
    let (planes, bytes) = (picture.planes(), picture.format.sample_bytes());
    let start: usize = planes[..index].iter().map(|(width, height)| width * height * bytes).sum();
    let (width, height) = planes[index];
    let value = |at: usize| {
        let at = start + at * bytes;
        samples[at..at + bytes].iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
    };
    (0..height).map(|row| (0..width).map(|column| value(row * width + column)).collect()).collect()
}

fn hidden(format: Format, rect: Rect, style: Style) -> (Picture, Vec<u8>, Vec<u8>) {
    let picture = Picture { width: 101, height: 103, format };
    let before = noise(&picture);
    let mut after = before.clone();
    picture.hide(&mut after, rect, style);
    (picture, before, after)
}

#[test]
fn nothing_outside_of_the_rectangle_changes_and_everything_inside_does() {
    for format in FORMATS {
        for style in [Style::Blur, Style::Pixelate, Style::Box] {
            let (picture, before, after) = hidden(format, RECT, style);
            let (before, after) = (plane(&picture, &before, 0), plane(&picture, &after, 0));
            let (mut changed, mut inside) = (0, 0);
            for (row, (before, after)) in before.iter().zip(&after).enumerate() {
                for (column, (before, after)) in before.iter().zip(after).enumerate() {
                    // One more column and row complete a sample of U and V.
                    if (10..72).contains(&column) && (20..92).contains(&row) {
                        inside += 1;
                        changed += usize::from(before != after);
                    } else {
                        assert_eq!(before, after, "{format:?} {style:?} {column} {row}");
                    }
                }
            }
            assert!(changed * 100 > inside * 90, "{format:?} {style:?}: {changed} of {inside}");
        }
    }
}

#[test]
fn a_box_is_black_in_every_format() {
    for (format, black) in FORMATS.into_iter().zip([[16, 128], [64, 512], [0, 128], [64, 512]]) {
        let (picture, _, after) = hidden(format, RECT, Style::Box);
        assert_eq!(plane(&picture, &after, 0)[50][50], black[0], "{format:?}");
        for chroma in [1, 2] {
            let plane = plane(&picture, &after, chroma);
            assert_eq!(plane[50 >> format.chroma_down][50 >> format.chroma_across], black[1], "{format:?}");
        }
    }
}

#[test]
fn only_a_few_values_of_the_picture_remain() {
    for format in FORMATS {
        let (picture, _, after) = hidden(format, RECT, Style::Pixelate);
        for index in 0..3 {
            let (across, down) = if index == 0 { (0, 0) } else { (format.chroma_across, format.chroma_down) };
            let mut cells = std::collections::BTreeSet::new();
            let plane = plane(&picture, &after, index);
            for row in &plane[20 >> down..90 >> down] {
                // A change of the value between two neighbours is the edge of a cell.
                let row = &row[10 >> across..70 >> across];
                assert!(row.windows(2).filter(|pair| pair[0] != pair[1]).count() < CELLS, "{row:?}");
                cells.insert(row.to_vec());
            }
            assert!(cells.len() <= CELLS, "{} rows of cells", cells.len());
        }
    }
}

#[test]
fn a_blur_has_no_edges_and_keeps_the_mean() {
    let (picture, before, after) = hidden(EIGHT, RECT, Style::Blur);
    let mean = |samples: &[u8]| {
        let plane = plane(&picture, samples, 0);
        let part: Vec<u32> = plane[20..92].iter().flat_map(|row| row[10..70].to_vec()).collect();
        part.iter().sum::<u32>() / u32::try_from(part.len()).unwrap()
    };
    assert!(mean(&before).abs_diff(mean(&after)) <= 6, "{} and {}", mean(&before), mean(&after));
    for row in &plane(&picture, &after, 0)[20..90] {
        for pair in row[10..70].windows(2) {
            assert!(pair[0].abs_diff(pair[1]) <= 4, "{pair:?}");
        }
    }
}

#[test]
fn a_flat_picture_stays_flat() {
    for bits in [8, 10, 16] {
        let picture = Picture { width: 64, height: 48, format: Format { bits, ..EIGHT } };
        let value: u32 = (1 << bits) - 1;
        let bytes = picture.format.sample_bytes();
        let flat: Vec<u8> = value.to_le_bytes()[..bytes].repeat(picture.bytes() / bytes);
        for style in [Style::Blur, Style::Pixelate] {
            let mut after = flat.clone();
            assert!(picture.hide(&mut after, Rect { left: 3.0, top: 3.0, right: 40.0, bottom: 44.0 }, style));
            let plane = plane(&picture, &after, 0);
            let worst = plane.iter().flatten().map(|sample| sample.abs_diff(value)).max();
            assert!(worst <= Some(value >> 7), "{style:?} {bits}: {worst:?}");
        }
    }
}

#[test]
fn a_rectangle_at_the_edge_is_cut_and_one_outside_is_ignored() {
    let picture = Picture { width: 101, height: 103, format: EIGHT };
    for style in [Style::Blur, Style::Pixelate, Style::Box] {
        let mut samples = noise(&picture);
        for rect in [
            Rect { left: -30.0, top: -20.0, right: 10.0, bottom: 15.0 },
            Rect { left: 90.0, top: 95.0, right: 300.0, bottom: 200.0 },
            Rect { left: -5.0, top: -5.0, right: 500.0, bottom: 500.0 },
            Rect { left: 100.2, top: 102.5, right: 100.4, bottom: 102.6 },
        ] {
            assert!(picture.hide(&mut samples, rect, style), "{rect:?}");
        }
        let before = samples.clone();
        for rect in [
            Rect { left: 101.0, top: 10.0, right: 130.0, bottom: 20.0 },
            Rect { left: 10.0, top: -30.0, right: 20.0, bottom: 0.0 },
            Rect { left: 50.0, top: 50.0, right: 50.0, bottom: 60.0 },
        ] {
            assert!(!picture.hide(&mut samples, rect, style), "{rect:?}");
        }
        assert_eq!(before, samples);
    }
}

#[test]
fn a_face_at_the_edge_does_not_get_finer_cells() {
    // Only a tenth of the rectangle is inside of the picture.
    let rect = Rect { left: -54.0, top: 20.0, right: 6.0, bottom: 80.0 };
    let (picture, _, after) = hidden(EIGHT, rect, Style::Pixelate);
    let row = &plane(&picture, &after, 0)[50][..6];
    assert!(row.iter().all(|sample| *sample == row[0]), "{row:?}");
}
