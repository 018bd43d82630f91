//! The reference grammar against the answers of distribution/reference itself.

use proptest::prelude::*;
use pullgate::domain::image::ImageRef;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    input: String,
    valid: bool,
    domain: Option<String>,
    path: Option<String>,
    tag: Option<String>,
    digest: Option<String>,
}

fn vectors() -> Vec<Vector> {
    include_str!("data/image-references.jsonl")
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn all_vectors_agree_with_the_reference_implementation() {
    let vectors = vectors();
    assert_eq!(vectors.len(), 3000);
    for v in vectors {
        match ImageRef::parse(&v.input) {
            Ok(image) => {
                assert!(v.valid, "{} should be refused", v.input);
                assert_eq!(image.domain, v.domain.unwrap_or_default(), "domain of {}", v.input);
                assert_eq!(image.path, v.path.unwrap_or_default(), "path of {}", v.input);
                assert_eq!(image.tag, v.tag.as_deref(), "tag of {}", v.input);
                assert_eq!(image.digest, v.digest.as_deref(), "digest of {}", v.input);
            }
            Err(error) => assert!(!v.valid, "{} should be read, but {error}", v.input),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn reading_never_panics_and_its_normal_form_is_stable(input in "[a-zA-Z0-9._:/@\\[\\]\\-%é ]{0,80}") {
        if let Ok(image) = ImageRef::admissible(&input) {
            let mut text = format!("{}/{}", image.domain, image.path);
            for part in [image.tag.map(|t| format!(":{t}")), image.digest.map(|d| format!("@{d}"))].into_iter().flatten() {
                text.push_str(&part);
            }
            let again = ImageRef::admissible(&text).unwrap();
            prop_assert_eq!(&again, &image);
        }
    }
}
