//! Templates of network configurations: the part of Go's template language that such templates use.
//!
//! Clusters that give each node a pod CIDR bring a template written for another runtime. What is
//! understood of it: `{{.PodCIDR}}`, `{{.PodCIDRRanges}}`, `{{.Routes}}`, `{{range}}` with and without
//! variables, `{{if}}`, `{{else}}`, `{{end}}`, comments, and `{{-` and `-}}`. Anything else is an
//! error with its line.

use serde_json::json;

use crate::cidr::Cidr;
use crate::error::ConfigError;

mod parse;

/// What is put in the places of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodCidrs {
    ranges: Vec<String>,
    routes: Vec<String>,
}

impl PodCidrs {
    /// Nothing without any.
    pub fn new(cidrs: Vec<Cidr>) -> Option<Self> {
        let has = |v4: bool| cidrs.iter().any(|cidr| cidr.address().is_ipv4() == v4);
        let routes = [(true, "0.0.0.0/0"), (false, "::/0")];
        let routes = routes.into_iter().filter(|(v4, _)| has(*v4));
        let routes = routes.map(|(_, route)| route.to_owned()).collect();
        let ranges: Vec<_> = cidrs.iter().map(ToString::to_string).collect();
        (!ranges.is_empty()).then_some(Self { ranges, routes })
    }

    fn value(&self, field: Field) -> Value<'_> {
        match field {
            Field::PodCidr => Value::Text(self.ranges.first().map_or("", String::as_str)),
            Field::PodCidrRanges => Value::List(&self.ranges),
            Field::Routes => Value::List(&self.routes),
        }
    }
}

/// A template that was understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Value(Place),
    Range {
        index: Option<String>,
        item: Option<String>,
        list: Place,
        body: Vec<Piece>,
        otherwise: Vec<Piece>,
    },
    If {
        condition: Place,
        body: Vec<Piece>,
        otherwise: Vec<Piece>,
    },
}

/// Where a value is from, and the line that asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    source: Source,
    line: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Field(Field),
    /// `.`, the item of the innermost range.
    Dot,
    /// `$name`.
    Variable(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    PodCidr,
    PodCidrRanges,
    Routes,
}

#[derive(Clone, Copy)]
enum Value<'a> {
    Text(&'a str),
    Number(usize),
    List(&'a [String]),
}

impl Value<'_> {
    /// As Go has it: neither empty nor zero.
    fn is_true(self) -> bool {
        match self {
            Self::Text(text) => !text.is_empty(),
            Self::Number(number) => number != 0,
            Self::List(list) => !list.is_empty(),
        }
    }
}

impl Template {
    /// Understands a template.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        let pieces = parse::pieces(text)?;
        Ok(Self { pieces })
    }

    /// Fills it in. A whole list in a place is written as JSON.
    pub fn render(&self, cidrs: &PodCidrs) -> Result<String, ConfigError> {
        let mut scope = Scope {
            cidrs,
            dot: None,
            variables: Vec::new(),
        };
        let mut text = String::new();
        scope.write(&self.pieces, &mut text)?;
        Ok(text)
    }
}

/// What names mean at some place.
struct Scope<'a> {
    cidrs: &'a PodCidrs,
    dot: Option<Value<'a>>,
    variables: Vec<(&'a str, Value<'a>)>,
}

impl<'a> Scope<'a> {
    fn write(&mut self, pieces: &'a [Piece], text: &mut String) -> Result<(), ConfigError> {
        for piece in pieces {
            match piece {
                Piece::Text(words) => text.push_str(words),
                Piece::Value(place) => text.push_str(&match self.find(place)? {
                    Value::Text(value) => value.to_owned(),
                    Value::Number(number) => number.to_string(),
                    Value::List(list) => json!(list).to_string(),
                }),
                Piece::If {
                    condition,
                    body,
                    otherwise,
                } => {
                    let holds = self.find(condition)?.is_true();
                    self.write(if holds { body } else { otherwise }, text)?;
                }
                Piece::Range { .. } => self.write_range(piece, text)?,
            }
        }
        Ok(())
    }

    fn write_range(&mut self, range: &'a Piece, text: &mut String) -> Result<(), ConfigError> {
        let Piece::Range {
            index,
            item,
            list,
            body,
            otherwise,
        } = range
        else {
            return Ok(());
        };
        let Value::List(items) = self.find(list)? else {
            return Err(mistake(list.line, "range over what is no list"));
        };
        if items.is_empty() {
            return self.write(otherwise, text);
        }
        let (dot, outer) = (self.dot, self.variables.len());
        for (number, value) in items.iter().enumerate() {
            self.dot = Some(Value::Text(value));
            let index = index.as_deref().map(|name| (name, Value::Number(number)));
            let item = item.as_deref().map(|name| (name, Value::Text(value)));
            self.variables.extend([index, item].into_iter().flatten());
            self.write(body, text)?;
            self.variables.truncate(outer);
        }
        self.dot = dot;
        Ok(())
    }

    fn find(&self, place: &Place) -> Result<Value<'a>, ConfigError> {
        match &place.source {
            // In a range the dot is a text, which has no fields.
            Source::Field(_) if self.dot.is_some() => Err(mistake(
                place.line,
                "a field inside of range; `$` is not supported",
            )),
            Source::Field(field) => Ok(self.cidrs.value(*field)),
            Source::Dot => self
                .dot
                .ok_or_else(|| mistake(place.line, "`.` outside of range")),
            Source::Variable(name) => {
                let known = self.variables.iter().rev().find(|(known, _)| known == name);
                let value = known.map(|(_, value)| *value);
                value.ok_or_else(|| mistake(place.line, "a variable that is not declared"))
            }
        }
    }
}

fn mistake(line: usize, what: &str) -> ConfigError {
    let what = what.to_owned();
    ConfigError::Template { line, what }
}

#[cfg(test)]
mod tests;
