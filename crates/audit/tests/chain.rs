//! Whatever is done to a log, it is found and named.

use backstop_audit::{Found, Head, Problem, append, last, verify};
use proptest::prelude::*;
use serde_json::{Value, json};

fn log(records: &[Value]) -> (Vec<String>, Head) {
    let mut head = Head::default();
    let lines = records.iter().map(|record| {
        let (line, next) = append(&head, record);
        head = next;
        line
    });
    (lines.collect(), head)
}

fn numbered(count: usize) -> (Vec<String>, Head) {
    let records: Vec<Value> = (1..=count)
        .map(|n| json!({"name": format!("web-{n}")}))
        .collect();
    log(&records)
}

fn text(lines: &[String]) -> Vec<u8> {
    let mut text = lines.join("\n");
    if !lines.is_empty() {
        text.push('\n');
    }
    text.into_bytes()
}

fn problems(lines: &[String], known: Option<&Head>) -> Vec<Problem> {
    match verify(text(lines).as_slice(), known) {
        Ok(_) => Vec::new(),
        Err(Found::Problems(problems)) => problems,
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_removed_line_is_named() {
    let (mut lines, _) = numbered(5);
    lines.remove(2);
    let found = problems(&lines, None);
    let missing = Problem::Missing {
        line: 3,
        sequence: 4,
        first: 3,
        last: 3,
    };
    assert_eq!(found, [missing]);
    assert_eq!(
        found[0].to_string(),
        "before line 3 (number 4) lines are missing: numbers 3 to 3"
    );
    let (mut lines, _) = numbered(3);
    lines.remove(0);
    assert_eq!(
        problems(&lines, None),
        [Problem::Missing {
            line: 1,
            sequence: 2,
            first: 1,
            last: 1
        }]
    );
}

#[test]
fn a_changed_line_is_named_and_no_other() {
    let (mut lines, _) = numbered(5);
    lines[1] = lines[1].replace("web-2", "web-9");
    assert_eq!(
        problems(&lines, None),
        [Problem::Changed {
            line: 2,
            sequence: 2
        }]
    );
}

#[test]
fn a_line_that_was_changed_and_hashed_anew_is_found_by_the_next() {
    let (mut lines, _) = numbered(5);
    let (_, before) = numbered(1);
    lines[1] = append(&before, &json!({"name": "web-9"})).0;
    assert_eq!(
        problems(&lines, None),
        [Problem::DoesNotFollow {
            line: 3,
            sequence: 3
        }]
    );
}

#[test]
fn two_lines_that_changed_places_are_found() {
    let (mut lines, _) = numbered(4);
    lines.swap(1, 2);
    let found = problems(&lines, None);
    assert_eq!(
        found[0],
        Problem::Missing {
            line: 2,
            sequence: 3,
            first: 2,
            last: 2
        }
    );
    assert_eq!(
        found[1],
        Problem::OutOfPlace {
            line: 3,
            sequence: 2,
            after: 3
        }
    );
}

#[test]
fn a_line_that_was_put_in_is_named() {
    let (mut lines, _) = numbered(3);
    lines.insert(1, "{\"sequence\":2}".into());
    assert_eq!(problems(&lines, None), [Problem::NoLine { line: 2 }]);
    let (mut lines, _) = numbered(3);
    lines.insert(2, lines[1].clone());
    assert_eq!(
        problems(&lines, None),
        [Problem::OutOfPlace {
            line: 3,
            sequence: 2,
            after: 2
        }]
    );
}

#[test]
fn lines_that_are_gone_from_the_end_show_by_a_head_that_is_known() {
    let (mut lines, head) = numbered(5);
    assert_eq!(problems(&lines, Some(&head)), []);
    lines.truncate(3);
    assert_eq!(problems(&lines, None), []);
    assert_eq!(
        problems(&lines, Some(&head)),
        [Problem::CutOff { ends: 3, known: 5 }]
    );
    assert_eq!(
        problems(&[], Some(&head)),
        [Problem::CutOff { ends: 0, known: 5 }]
    );
}

#[test]
fn a_log_that_was_written_anew_shows_by_a_head_that_is_known() {
    let (_, head) = numbered(3);
    let (other, _) = log(&[json!(1), json!(2), json!(3), json!(4)]);
    assert_eq!(
        problems(&other, Some(&head)),
        [Problem::WrittenAnew { sequence: 3 }]
    );
}

#[test]
fn a_log_goes_on_after_its_last_whole_line() {
    let (lines, head) = numbered(3);
    let whole = String::from_utf8(text(&lines)).unwrap();
    assert_eq!(last(&whole), Some(head));
    let torn = &whole[..whole.len() - 10];
    assert_eq!(last(torn), Some(numbered(2).1));
    assert_eq!(last(""), None);
}

#[test]
fn a_head_is_read_as_it_is_told() {
    let (_, head) = numbered(3);
    assert_eq!(head.to_string().parse(), Ok(head));
    let error = "3:abc".parse::<Head>().unwrap_err();
    assert!(error.contains("'3:abc' is no head of a log"), "{error}");
}

fn records() -> impl Strategy<Value = Vec<Value>> {
    prop::collection::vec(".*".prop_map(|text| json!({"message": text})), 2..12)
}

proptest! {
    #[test]
    fn a_log_is_whole_as_it_was_written(records in records()) {
        let (lines, head) = log(&records);
        let verified = verify(text(&lines).as_slice(), Some(&head)).unwrap();
        prop_assert_eq!(verified.head, head);
        prop_assert_eq!(verified.lines, records.len() as u64);
    }

    /// One bit of one byte, anywhere but in a line break.
    #[test]
    fn no_bit_is_changed_without_being_found(records in records(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let (lines, head) = log(&records);
        let mut bytes = text(&lines);
        let at = at.index(bytes.len() - 1);
        bytes[at] ^= 1 << bit;
        prop_assert!(verify(bytes.as_slice(), Some(&head)).is_err());
    }

    #[test]
    fn no_line_is_removed_doubled_or_moved_without_being_found(
        records in records(), from in any::<prop::sample::Index>(), to in any::<prop::sample::Index>(), keep in any::<bool>(),
    ) {
        let (mut lines, head) = log(&records);
        let whole = lines.clone();
        let from = from.index(lines.len());
        let moved = if keep { lines[from].clone() } else { lines.remove(from) };
        prop_assert!(keep || verify(text(&lines).as_slice(), Some(&head)).is_err());
        lines.insert(to.index(lines.len() + 1), moved);
        prop_assert!(lines == whole || verify(text(&lines).as_slice(), Some(&head)).is_err());
    }
}
