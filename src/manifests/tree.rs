//! A YAML document whose every field still knows its line, so that whatever is later found wrong with it can be
//! said of a line.

use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::{Location, Spanned};

/// A field's content and its line in the file, counted from 1.
#[derive(Debug)]
pub struct Node {
    pub line: u64,
    tree: Tree,
}

#[derive(Debug)]
enum Tree {
    /// Everything but lists and mappings.
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<Field>),
}

#[derive(Debug)]
struct Field {
    key: String,
    /// Of the key: a mapping's or list's own first line comes after it.
    line: u64,
    content: Node,
}

impl Node {
    /// A field of a mapping; `None` where it is absent or this is no mapping.
    pub fn get(&self, key: &str) -> Option<&Self> {
        self.field(key).map(|field| &field.content)
    }

    /// The text of a string.
    pub fn text(&self) -> Option<&str> {
        if let Tree::Scalar(Value::String(text)) = &self.tree { Some(text) } else { None }
    }

    /// Whether this is `null`, `~` or nothing at all.
    pub fn is_null(&self) -> bool {
        matches!(self.tree, Tree::Scalar(Value::Null))
    }

    /// Whether this is a mapping.
    pub fn is_map(&self) -> bool {
        matches!(self.tree, Tree::Map(_))
    }

    /// Keys of a mapping, with their lines.
    pub fn keys(&self) -> impl Iterator<Item = (&str, u64)> {
        let fields = if let Tree::Map(fields) = &self.tree { fields.as_slice() } else { &[] };
        fields.iter().map(|f| (f.key.as_str(), f.line))
    }

    /// The entries of a list, or this node again where it is none.
    ///
    /// # Errors
    /// The node, where it is no list.
    pub fn into_list(self) -> Result<Vec<Self>, Self> {
        let line = self.line;
        match self.tree {
            Tree::List(entries) => Ok(entries),
            tree => Err(Self { line, tree }),
        }
    }

    /// Takes a field out of a mapping.
    pub fn take(&mut self, key: &str) -> Option<Self> {
        let Tree::Map(fields) = &mut self.tree else { return None };
        let at = fields.iter().position(|f| f.key == key)?;
        Some(fields.remove(at).content)
    }

    /// The line of a field by its path, as `spec.imageHosts[0]`; where the path leads nowhere, that of its longest
    /// part that does.
    pub fn line_at(&self, path: &str) -> u64 {
        let (mut node, mut line) = (self, self.line);
        let steps = path.split('.').flat_map(|part| {
            let mut pieces = part.split('[');
            let key = pieces.next().filter(|key| !key.is_empty()).map(Step::Key);
            let indices = pieces.filter_map(|p| p.strip_suffix(']')?.parse().ok().map(Step::Index));
            key.into_iter().chain(indices)
        });
        for step in steps {
            match (step, &node.tree) {
                (Step::Key(key), _) => {
                    let Some(field) = node.field(key) else { break };
                    (node, line) = (&field.content, field.line);
                }
                (Step::Index(index), Tree::List(entries)) if index < entries.len() => {
                    node = &entries[index];
                    line = node.line;
                }
                _ => break,
            }
        }
        line
    }

    /// Moves this and all within it down by some lines: those of the file in front of its document.
    pub fn move_down(&mut self, lines: u64) {
        self.line += lines;
        match &mut self.tree {
            Tree::Scalar(_) => {}
            Tree::List(entries) => entries.iter_mut().for_each(|entry| entry.move_down(lines)),
            Tree::Map(fields) => {
                for field in fields {
                    field.line += lines;
                    field.content.move_down(lines);
                }
            }
        }
    }

    /// The entries of a list; none where it is no list.
    pub fn entries(&self) -> &[Self] {
        if let Tree::List(entries) = &self.tree { entries } else { &[] }
    }

    /// What this holds, with the keys of a mapping.
    pub fn children(&self) -> impl Iterator<Item = (Option<&str>, &Self)> {
        let fields = if let Tree::Map(fields) = &self.tree { fields.as_slice() } else { &[] };
        let fields = fields.iter().map(|field| (Some(field.key.as_str()), &field.content));
        fields.chain(self.entries().iter().map(|entry| (None, entry)))
    }

    /// Whether this is a list.
    pub fn is_list(&self) -> bool {
        matches!(self.tree, Tree::List(_))
    }

    /// The same without lines.
    pub fn to_value(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::List(entries) => entries.iter().map(Self::to_value).collect(),
            Tree::Map(fields) => fields.iter().map(|f| (f.key.clone(), f.content.to_value())).collect(),
        }
    }

    /// The same as a type with lists of structs has it in Go: an entry that is `null` is one without content.
    pub fn to_typed_value(&self) -> Value {
        match &self.tree {
            Tree::Scalar(value) => value.clone(),
            Tree::List(entries) => entries
                .iter()
                .map(|entry| if entry.is_null() { Value::Object(Map::new()) } else { entry.to_typed_value() })
                .collect(),
            Tree::Map(fields) => fields.iter().map(|f| (f.key.clone(), f.content.to_typed_value())).collect(),
        }
    }

    fn field(&self, key: &str) -> Option<&Field> {
        let Tree::Map(fields) = &self.tree else { return None };
        fields.iter().find(|f| f.key == key)
    }
}

enum Step<'p> {
    Key(&'p str),
    Index(usize),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::<Tree>::deserialize(deserializer)
            .map(|spanned| Self { line: line(spanned.referenced), tree: spanned.value })
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TreeVisitor)
    }
}

struct TreeVisitor;

impl<'de> Visitor<'de> for TreeVisitor {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what JSON can hold")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Tree, E> {
        self.visit_unit()
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Scalar(value.into()))
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Tree, E> {
        #[allow(clippy::cast_precision_loss, reason = "as every JSON reader in Kubernetes has it")]
        self.visit_f64(value as f64)
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Tree, E> {
        #[allow(clippy::cast_precision_loss, reason = "as every JSON reader in Kubernetes has it")]
        self.visit_f64(value as f64)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Tree, E> {
        let number = Number::from_f64(value).ok_or_else(|| E::custom("JSON has no such number"))?;
        Ok(Tree::Scalar(Value::Number(number)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Tree, E> {
        self.visit_string(text.to_owned())
    }

    fn visit_string<E: de::Error>(self, text: String) -> Result<Tree, E> {
        Ok(Tree::Scalar(Value::String(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = list.next_element()? {
            entries.push(entry);
        }
        Ok(Tree::List(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut fields = Vec::new();
        while let Some((key, content)) = map.next_entry::<Spanned<String>, Node>()? {
            fields.push(Field { key: key.value, line: line(key.referenced), content });
        }
        Ok(Tree::Map(fields))
    }
}

fn line(location: Location) -> u64 {
    location.line().max(1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const TEXT: &str = "spec:\n  a:\n  - x: 1\n    y: [p,\n      q]\n  - ~\nlast: &l {k: v}\nalias: *l\n";

    #[test]
    fn a_path_leads_to_its_line_or_as_far_as_it_goes() {
        let node: Node = serde_saphyr::from_str(TEXT).unwrap();
        for (path, line) in [
            ("spec", 1),
            ("spec.a", 2),
            ("spec.a[0].x", 3),
            ("spec.a[0].y[1]", 5),
            ("spec.a[1].x", 6),
            ("spec.a[9].x", 2),
            ("spec.b", 1),
            ("alias", 8),
            ("nothing", 1),
            ("", 1),
            (".", 1),
        ] {
            assert_eq!(node.line_at(path), line, "{path}");
        }
    }

    #[test]
    fn the_content_is_what_json_would_hold() {
        let node: Node = serde_saphyr::from_str(TEXT).unwrap();
        let a = json!([{"x": 1, "y": ["p", "q"]}, null]);
        let expected = json!({"spec": {"a": a}, "last": {"k": "v"}, "alias": {"k": "v"}});
        assert_eq!(node.to_value(), expected);
    }
}
