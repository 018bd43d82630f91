//! Against serde_json: what is read is the same, and what breaks off is refused.

use proptest::prelude::*;
use serde_json::Value;

use super::*;

#[derive(Debug, Default, PartialEq, serde::Deserialize)]
struct Probe<'a> {
    #[serde(borrow)]
    wanted: Option<Cow<'a, str>>,
    #[serde(borrow)]
    list: Option<Vec<Cow<'a, str>>>,
}

fn probe(text: &str) -> Outcome<Probe<'_>> {
    let mut probe = Probe::default();
    Reader::whole(text, |reader| {
        reader.object(&mut |reader, name| match name {
            "wanted" => reader.once(&mut probe.wanted, Reader::string),
            "list" => reader.once(&mut probe.list, |reader| {
                let mut list = Vec::new();
                reader.list(&mut |reader| {
                    list.push(reader.string()?);
                    Ok(())
                })?;
                Ok(list)
            }),
            _ => reader.skip(),
        })
    })?;
    Ok(probe)
}

fn any_value() -> impl Strategy<Value = Value> {
    // Quotes, backslashes and brackets, in runs: whatever could be taken for structure.
    let text = "[a{}\\[\\]\"\\\\é\u{0}-\u{1f}]{0,150}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        text.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(text, inner, 0..6).prop_map(Value::from_iter),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_skipped_what_is_read_is_what_serde_json_reads(
        before: Vec<bool>, skipped in any_value(), wanted in any::<Option<String>>(), list: Vec<String>, pretty: bool,
        cut: prop::sample::Index
    ) {
        let document = serde_json::json!({"a": before, "b": skipped, "list": list, "wanted": wanted, "z": skipped});
        let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) }.unwrap();
        let expected: Probe<'_> = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&probe(&text).unwrap(), &expected);
        if let Some(part) = text.get(..cut.index(text.len())) {
            prop_assert!(probe(part).is_err(), "a text that breaks off was read");
        }
    }

    #[test]
    fn what_serde_json_refuses_in_a_read_member_is_refused(text in "[{}\\[\\]\":,a\\\\un0 \u{1}]{0,12}") {
        let document = format!("{{\"wanted\":{text}}}");
        if let Err(error) = serde_json::from_str::<Probe<'_>>(&document) {
            prop_assert!(probe(&document).is_err(), "serde_json says {error} to {document}");
        }
    }
}

#[test]
fn nesting_is_bounded_in_what_is_skipped() {
    let nested =
        |levels: usize| format!("{{\"a\":{}{},\"wanted\":\"x\"}}", "[".repeat(levels), "]".repeat(levels));
    assert!(probe(&nested(900)).is_ok());
    let error = probe(&nested(2000)).unwrap_err().to_string();
    assert!(error.contains("1000 levels"), "{error}");
}

#[test]
fn doubled_members_and_what_follows_the_end_are_refused() {
    for text in [
        r#"{"wanted":"x","wanted":"y"}"#,
        r#"{"wanted":"x"} {}"#,
        r#"{"wanted":"x",}"#,
        r#"{"wanted" "x"}"#,
        r#"{wanted:"x"}"#,
    ] {
        assert!(probe(text).is_err(), "{text}");
    }
    let escaped = probe(r#"{"want\u0065d":"a\u002fb"}"#).unwrap();
    assert_eq!(escaped.wanted.as_deref(), Some("a/b"), "an escaped name is still the name");
}

#[test]
fn a_fault_says_where_it_is() {
    let error = probe(r#"{"list":["a",7]}"#).unwrap_err();
    assert_eq!((error.path().as_str(), error.what()), ("list[1]", "expected a string, found a number"));
    assert_eq!(error.to_string(), "list[1]: expected a string, found a number at byte 13");
    assert_eq!(probe("[]").unwrap_err().to_string(), "expected an object, found a list at byte 0");
}

#[test]
fn lists_are_bounded() {
    let of = |entries: usize| format!("{{\"list\":[\"\"{}]}}", ",\"\"".repeat(entries - 1));
    assert_eq!(probe(&of(ENTRIES_MAX)).unwrap().list.unwrap().len(), ENTRIES_MAX);
    assert!(probe(&of(ENTRIES_MAX + 1)).is_err());
}

#[test]
fn entries_are_bounded_by_what_there_is_to_read() {
    let read = |text: &str| {
        Reader::whole(text, |reader| {
            let mut lists = [None, None];
            reader.object(&mut |reader, name| {
                let list = usize::from(name == "b");
                reader.fill_list(&mut lists[list], |(): &mut (), reader, _| reader.skip())
            })?;
            Ok(lists.into_iter().flatten().map(|list| list.len()).sum::<usize>())
        })
    };
    let of = |entry: &str, count: usize| {
        let list = vec![entry; count].join(",");
        format!("{{\"a\":[{list}],\"b\":[{list}]}}")
    };
    assert_eq!(read(&of("{}", 32)).unwrap(), 64);
    assert_eq!(read(&of(r#"{"name":"container"}"#, 10_000)).unwrap(), 20_000);
    assert!(read(&of("{}", 1_000)).unwrap_err().what().contains("more entries"));
}

#[test]
fn values_are_bounded_by_what_they_take() {
    let value = |text: &str| Reader::whole(text, Reader::value);
    let names: Vec<_> = (0..10_000).map(|n| format!("\"team-{n}-namespace\"")).collect();
    assert!(value(&format!("[{}]", names.join(","))).is_ok());
    assert!(value(&format!("\"{}\"", "x".repeat(1 << 20))).is_ok());
    for unit in [r#"{"":0}"#, r#"{"a":{}}"#, "[0]", "{}", "\"\""] {
        let list = format!("[{}]", vec![unit; 16_000].join(","));
        let lists = format!("[{}]", vec![list.as_str(); 1 + (1 << 20) / list.len()].join(","));
        assert!(value(&lists).unwrap_err().what().contains("more values"), "{unit}");
    }
}

#[test]
fn whatever_is_there_is_read_as_serde_json_reads_it() {
    let value = |text: &str| Reader::whole(text, Reader::value);
    for text in [
        "{}",
        "[]",
        "null",
        "true",
        "\"\\u0041\\n\"",
        "-1.5e3",
        "18446744073709551615",
        r#" {"a": [1, {"b": null}, "x", false], "": {"c": {}}} "#,
    ] {
        assert_eq!(value(text).unwrap(), serde_json::from_str::<serde_json::Value>(text).unwrap(), "{text}");
    }
    let odd = r#"{"$serde_json::private::RawValue": "[1]"}"#;
    assert!(value(odd).unwrap().is_object());
    let deep = "[".repeat(65) + &"]".repeat(65);
    let long = format!("[{}0]", "0,".repeat(16 * 1024));
    for text in ["", "{", "[1,]", "{\"a\":1,\"a\":2}", "1e999", "01", "nul", "{1:2}", "[1 2]", &deep, &long] {
        assert!(value(text).is_err(), "{text}");
    }
}
