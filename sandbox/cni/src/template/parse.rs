//! From a template's text to its pieces.

use super::{Field, Piece, Place, Source, mistake};
use crate::error::{ConfigError, excerpt};

/// Deeper templates are a mistake.
const DEEPEST: usize = 16;

/// Text, or what was between `{{` and `}}`, with the line that it begins in.
enum Token<'a> {
    Text(&'a str),
    Action(&'a str, usize),
}

/// The pieces of a whole template.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, ConfigError> {
    let tokens = tokens(text)?;
    let mut parser = Parser {
        tokens: tokens.into_iter(),
        depth: 0,
    };
    let (pieces, end) = parser.block()?;
    match end {
        End::Text => Ok(pieces),
        End::Else(line) | End::Close(line) => Err(mistake(line, "no range or if is open here")),
    }
}

/// How a block ended, and in which line.
enum End {
    Text,
    Else(usize),
    Close(usize),
}

struct Parser<'a> {
    tokens: std::vec::IntoIter<Token<'a>>,
    depth: usize,
}

impl Parser<'_> {
    fn block(&mut self) -> Result<(Vec<Piece>, End), ConfigError> {
        let mut pieces = Vec::new();
        while let Some(token) = self.tokens.next() {
            let (action, line) = match token {
                Token::Text(text) => {
                    pieces.push(Piece::Text(text.to_owned()));
                    continue;
                }
                Token::Action(action, line) => (action, line),
            };
            match action.split_whitespace().next() {
                Some("end") if action == "end" => return Ok((pieces, End::Close(line))),
                Some("else") if action == "else" => return Ok((pieces, End::Else(line))),
                Some(word @ ("if" | "range")) => {
                    let rest = action[word.len()..].trim();
                    pieces.push(self.nested(word, rest, line)?);
                }
                _ => pieces.push(Piece::Value(place(action, line)?)),
            }
        }
        Ok((pieces, End::Text))
    }

    fn nested(&mut self, word: &str, rest: &str, line: usize) -> Result<Piece, ConfigError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(mistake(line, "too many ranges and ifs in each other"));
        }
        let open = || mistake(line, "a range or if without end");
        let (body, end) = self.block()?;
        let otherwise = match end {
            End::Close(_) => Vec::new(),
            End::Text => return Err(open()),
            End::Else(_) => match self.block()? {
                (otherwise, End::Close(_)) => otherwise,
                (_, End::Else(line)) => return Err(mistake(line, "a second else")),
                (_, End::Text) => return Err(open()),
            },
        };
        self.depth -= 1;
        if word == "if" {
            let condition = place(rest, line)?;
            return Ok(Piece::If {
                condition,
                body,
                otherwise,
            });
        }
        let (index, item, list) = range(rest, line)?;
        Ok(Piece::Range {
            index,
            item,
            list,
            body,
            otherwise,
        })
    }
}

type Range = (Option<String>, Option<String>, Place);

/// `.Routes`, `$item := .Routes` or `$index, $item := .Routes`.
fn range(text: &str, line: usize) -> Result<Range, ConfigError> {
    let Some((variables, list)) = text.split_once(":=") else {
        return Ok((None, None, place(text, line)?));
    };
    let list = place(list.trim(), line)?;
    let names: Vec<&str> = variables.split(',').map(str::trim).collect();
    let named = |name: &&str| variable(name).map(str::to_owned);
    match names.as_slice() {
        [item] => Ok((None, named(item), list)),
        [index, item] => Ok((named(index), named(item), list)),
        _ => Err(mistake(line, "range with more than two variables")),
    }
}

fn place(text: &str, line: usize) -> Result<Place, ConfigError> {
    let source = match text {
        "." => Source::Dot,
        ".PodCIDR" => Source::Field(Field::PodCidr),
        ".PodCIDRRanges" => Source::Field(Field::PodCidrRanges),
        ".Routes" => Source::Field(Field::Routes),
        text => match variable(text) {
            Some(name) => Source::Variable(name.to_owned()),
            None => {
                let what = format!("{:?} is not supported", excerpt(text.as_bytes()));
                return Err(mistake(line, &what));
            }
        },
    };
    Ok(Place { source, line })
}

fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix('$')?;
    let plain = |c: char| c.is_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(plain)).then_some(name)
}

fn tokens(text: &str) -> Result<Vec<Token<'_>>, ConfigError> {
    let mut tokens = Vec::new();
    let (mut rest, mut line) = (text, 1);
    let mut trim_next = false;
    loop {
        let (before, action) = match rest.split_once("{{") {
            Some((before, action)) => (before, Some(action)),
            None => (rest, None),
        };
        line += before.matches('\n').count();
        let mut words = if trim_next {
            before.trim_start()
        } else {
            before
        };
        let Some(action) = action else {
            tokens.push(Token::Text(words));
            return Ok(tokens);
        };
        let unclosed = || mistake(line, "`{{` without `}}`");
        let (inside, after) = action.split_once("}}").ok_or_else(unclosed)?;
        // Go's `{{-` needs a space after it: `{{-1}}` is a number.
        let (inside, trim_before) = match inside.strip_prefix('-') {
            Some(inside) if inside.starts_with(char::is_whitespace) => (inside, true),
            _ => (inside, false),
        };
        let (inside, trim_after) = match inside.strip_suffix('-') {
            Some(inside) if inside.ends_with(char::is_whitespace) => (inside, true),
            _ => (inside, false),
        };
        if trim_before {
            words = words.trim_end();
        }
        tokens.push(Token::Text(words));
        let trimmed = inside.trim();
        if !(trimmed.starts_with("/*") && trimmed.ends_with("*/")) {
            tokens.push(Token::Action(trimmed, line));
        }
        line += inside.matches('\n').count();
        (rest, trim_next) = (after, trim_after);
    }
}
