//! YAML with places: a tree that knows line and column of every key and value, for errors that name them.
//!
//! Flows are read twice: their values come from dora's own reading of the same text, so that both always agree, and this
//! tree says where they stand. An operator that has a file of its own reads it with this alone.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, Span};

/// A part of a YAML text.
#[derive(Clone, Debug, Default)]
pub struct Yaml {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What stands there.
    pub kind: Kind,
}

/// What stands at a place.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Text, a number, a truth value: as it is written.
    Scalar(String),
    /// A list.
    List(Vec<Yaml>),
    /// Keys and their values, in the order of the file.
    Map(Vec<(Yaml, Yaml)>),
}

impl Default for Kind {
    fn default() -> Self {
        Kind::Scalar(String::new())
    }
}

/// What a text has wrong as YAML.
#[derive(Debug)]
pub struct Broken {
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
}

impl Yaml {
    /// The first document of a text; aliases stand for what they name.
    ///
    /// # Errors
    /// Where it is no YAML, or a key stands twice in one map.
    pub fn parse(text: &str) -> Result<Yaml, Broken> {
        let mut builder = Builder::default();
        let mut parser = Parser::new_from_str(text);
        while let Some(event) = parser.next_event() {
            let (event, span) = event.map_err(|e| Broken {
                line: e.marker().line(),
                column: e.marker().col() + 1,
                message: e.info().to_owned(),
            })?;
            if matches!(event, Event::DocumentEnd) {
                break;
            }
            builder.event(event, span)?;
        }
        Ok(builder.done.unwrap_or_default())
    }

    /// Text, where it is no list and no map.
    pub fn scalar(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The items of a list; none where it is something else.
    pub fn list(&self) -> &[Yaml] {
        match &self.kind {
            Kind::List(items) => items,
            _ => &[],
        }
    }

    /// Keys and values of a map; none where it is something else.
    pub fn map(&self) -> &[(Yaml, Yaml)] {
        match &self.kind {
            Kind::Map(pairs) => pairs,
            _ => &[],
        }
    }

    /// True for a map.
    pub fn is_map(&self) -> bool {
        matches!(self.kind, Kind::Map(_))
    }

    /// Key and value of a map.
    pub fn entry(&self, key: &str) -> Option<(&Yaml, &Yaml)> {
        self.map().iter().find(|(k, _)| k.scalar() == Some(key)).map(|(k, v)| (k, v))
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Yaml> {
        self.entry(key).map(|(_, value)| value)
    }

    /// The text of a key's value.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.scalar()
    }

    /// The texts of a key's list.
    pub fn texts(&self, key: &str) -> Vec<&str> {
        self.get(key).map_or_else(Vec::new, |list| list.list().iter().filter_map(Yaml::scalar).collect())
    }

    /// The key that stands at the end of a path of keys.
    pub fn key_at(&self, path: &[&str]) -> Option<&Yaml> {
        let (key, value) = self.entry(path.first()?)?;
        if path.len() == 1 { Some(key) } else { value.key_at(&path[1..]) }
    }

    /// Any key of that name from a line on: for errors of others that tell names but no columns.
    pub fn find_key(&self, name: &str, from_line: usize) -> Option<&Yaml> {
        match &self.kind {
            Kind::Scalar(_) => None,
            Kind::List(items) => items.iter().find_map(|item| item.find_key(name, from_line)),
            Kind::Map(pairs) => pairs.iter().find_map(|(key, value)| {
                (key.scalar() == Some(name) && key.line >= from_line)
                    .then_some(key)
                    .or_else(|| value.find_key(name, from_line))
            }),
        }
    }
}

/// Puts events together to a tree.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    anchors: HashMap<usize, Yaml>,
    done: Option<Yaml>,
}

struct Open {
    yaml: Yaml,
    anchor: usize,
    key: Option<Yaml>,
}

impl Builder {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Broken> {
        let at = |kind| Yaml { line: span.start.line(), column: span.start.col() + 1, kind };
        match event {
            Event::Scalar(text, _, anchor, _) => self.put(at(Kind::Scalar(text.into_owned())), anchor),
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).cloned().unwrap_or_default();
                self.put(at(known.kind), 0)
            }
            Event::SequenceStart(anchor, _) => {
                self.open.push(Open { yaml: at(Kind::List(vec![])), anchor, key: None });
                Ok(())
            }
            Event::MappingStart(anchor, _) => {
                self.open.push(Open { yaml: at(Kind::Map(vec![])), anchor, key: None });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(open) => self.put(open.yaml, open.anchor),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn put(&mut self, yaml: Yaml, anchor: usize) -> Result<(), Broken> {
        if anchor > 0 {
            self.anchors.insert(anchor, yaml.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.done = Some(yaml);
            return Ok(());
        };
        match &mut open.yaml.kind {
            Kind::List(items) => items.push(yaml),
            Kind::Map(pairs) => match open.key.take() {
                Some(key) => pairs.push((key, yaml)),
                None => {
                    // dora would silently take the later of the two.
                    let twice = yaml.scalar().and_then(|name| pairs.iter().find(|(k, _)| k.scalar() == Some(name)));
                    if let Some((first, _)) = twice {
                        let name = yaml.scalar().unwrap_or_default();
                        let message = format!("the key `{name}` stands here already, in line {}", first.line);
                        return Err(Broken { line: yaml.line, column: yaml.column, message });
                    }
                    open.key = Some(yaml);
                }
            },
            Kind::Scalar(_) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_knows_its_line_and_column() {
        let tree = Yaml::parse("a: 1\nnodes:\n  - id: x\n    inputs: {in: a/b}\n").map_err(|b| b.message).unwrap();
        let node = &tree.get("nodes").unwrap().list()[0];
        assert_eq!((node.line, node.column), (3, 5));
        let key = node.key_at(&["inputs", "in"]).unwrap();
        assert_eq!((key.line, key.column), (4, 14));
        assert_eq!(tree.find_key("in", 0).unwrap().line, 4);
    }

    #[test]
    fn an_alias_stands_for_what_was_named() {
        let tree = Yaml::parse("a: &x [1, 2]\nb: *x\n").map_err(|b| b.message).unwrap();
        assert_eq!(tree.texts("b"), ["1", "2"]);
    }

    #[test]
    fn a_key_that_stands_twice_is_an_error() {
        let broken = Yaml::parse("a: 1\nb: 2\na: 3\n").err().unwrap();
        assert_eq!((broken.line, broken.column), (3, 1));
        assert!(broken.message.contains("line 1"));
    }
}
