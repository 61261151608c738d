//! Literals of Python, as far as the headers of NumPy's files have them.

/// A literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Literal {
    Text(String),
    Number(usize),
    Bool(bool),
    /// A tuple or a list.
    Sequence(Vec<Literal>),
    Dict(Vec<(String, Literal)>),
}

/// The literal that `text` is.
///
/// # Errors
/// What is not understood, and where.
pub(crate) fn parse(text: &str) -> Result<Literal, String> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    let literal = parser.literal()?;
    parser.skip_blanks();
    if parser.at < text.len() { Err(parser.wrong("the end")) } else { Ok(literal) }
}

/// A struct in a struct, and so on, is not deeper than this.
const DEEPEST: usize = 64;

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn wrong(&self, expected: &str) -> String {
        format!("at byte {} of its header there should be {expected}", self.at)
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes `token` if it comes next.
    fn takes(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let is_next = self.rest().starts_with(token);
        self.at += if is_next { token.len() } else { 0 };
        is_next
    }

    fn literal(&mut self) -> Result<Literal, String> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.wrong("no deeper structure"));
        }
        let literal = match () {
            () if self.takes("True") => Literal::Bool(true),
            () if self.takes("False") => Literal::Bool(false),
            () if self.takes("(") => self.sequence(")")?,
            () if self.takes("[") => self.sequence("]")?,
            () if self.takes("{") => self.dict()?,
            () if self.takes("'") => Literal::Text(self.text_to('\'')?),
            () if self.takes("\"") => Literal::Text(self.text_to('"')?),
            () => self.number()?,
        };
        self.depth -= 1;
        Ok(literal)
    }

    fn number(&mut self) -> Result<Literal, String> {
        let digits = self.rest().bytes().take_while(u8::is_ascii_digit).count();
        let number =
            self.rest()[..digits].parse().map_err(|_| self.wrong("a text, a number, or a sequence of them"))?;
        self.at += digits;
        // Python 2 wrote an L behind large ones.
        self.takes("L");
        Ok(Literal::Number(number))
    }

    fn text_to(&mut self, quote: char) -> Result<String, String> {
        let end = self.rest().find(quote).ok_or_else(|| self.wrong("the end of a text"))?;
        let text = self.rest()[..end].to_owned();
        if text.contains('\\') {
            return Err(self.wrong("a text without escapes"));
        }
        self.at += end + quote.len_utf8();
        Ok(text)
    }

    fn sequence(&mut self, end: &str) -> Result<Literal, String> {
        let mut all = Vec::new();
        while !self.takes(end) {
            all.push(self.literal()?);
            if !self.takes(",") && !self.rest().starts_with(end) {
                return Err(self.wrong("a comma"));
            }
        }
        Ok(Literal::Sequence(all))
    }

    fn dict(&mut self) -> Result<Literal, String> {
        let mut all = Vec::new();
        while !self.takes("}") {
            let Literal::Text(name) = self.literal()? else { return Err(self.wrong("a name")) };
            if !self.takes(":") {
                return Err(self.wrong("a colon"));
            }
            all.push((name, self.literal()?));
            if !self.takes(",") && !self.rest().starts_with('}') {
                return Err(self.wrong("a comma"));
            }
        }
        Ok(Literal::Dict(all))
    }
}

impl Literal {
    /// The value of a dictionary.
    pub(crate) fn member(&self, name: &str) -> Option<&Literal> {
        let Literal::Dict(members) = self else { return None };
        members.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// The numbers of a sequence of numbers.
    pub(crate) fn numbers(&self) -> Option<Vec<usize>> {
        let Literal::Sequence(all) = self else { return None };
        all.iter().map(|one| if let Literal::Number(number) = one { Some(*number) } else { None }).collect()
    }

    /// The type that it describes, in the form of [`Element::dtype`](crate::Element::dtype).
    pub(crate) fn dtype(&self) -> Option<String> {
        match self {
            // A single byte has no order, and some writers give it one.
            Literal::Text(name) => Some(match name.as_str() {
                "<u1" | ">u1" => "|u1".to_owned(),
                "<i1" | ">i1" => "|i1".to_owned(),
                "<b1" | ">b1" => "|b1".to_owned(),
                name => name.to_owned(),
            }),
            Literal::Sequence(fields) => {
                let fields = fields.iter().map(field).collect::<Option<Vec<_>>>()?;
                Some(format!("[{}]", fields.join(", ")))
            }
            _ => None,
        }
    }
}

/// A field of a struct: its name, its type, and its lengths if it is an array.
fn field(field: &Literal) -> Option<String> {
    let Literal::Sequence(parts) = field else { return None };
    let (Literal::Text(name), dtype) = (parts.first()?, parts.get(1)?) else { return None };
    let described = dtype.dtype()?;
    let described = if described.starts_with('[') { described } else { format!("'{described}'") };
    match parts.get(2) {
        None => Some(format!("('{name}', {described})")),
        Some(lengths) => match &lengths.numbers()?[..] {
            [one] => Some(format!("('{name}', {described}, ({one},))")),
            several => {
                let several: Vec<_> = several.iter().map(usize::to_string).collect();
                Some(format!("('{name}', {described}, ({}))", several.join(", ")))
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_numpy_are_understood() {
        let header = parse("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }      \n").unwrap();
        assert_eq!(header.member("shape").unwrap().numbers(), Some(vec![3, 4]));
        assert_eq!(header.member("fortran_order"), Some(&Literal::Bool(false)));
        assert_eq!(header.member("descr").unwrap().dtype().unwrap(), "<f8");
        let old = parse("{\"descr\":\"|u1\",\"fortran_order\":True,\"shape\":(5L,)}").unwrap();
        assert_eq!(old.member("shape").unwrap().numbers(), Some(vec![5]));
        assert_eq!(parse("()").unwrap().numbers(), Some(vec![]));
        assert_eq!(parse("[('a', '<u1'), ('b', '>i1')]").unwrap().dtype().unwrap(), "[('a', '|u1'), ('b', '|i1')]");
        let nested =
            "[('id', '|u1'), ('inner', [('x', '<f4'), ('y', '<u4')]), ('grid', '<i2', (2, 3)), ('many', '<f8', (4,))]";
        assert_eq!(parse(nested).unwrap().dtype().unwrap(), nested);
    }

    #[test]
    fn anything_else_is_refused_and_says_where() {
        for text in ["", "{", "{'a' 1}", "(1 2)", "'a", "(1,) x", "{1: 2}", "-1", "99999999999999999999999", "'\\n'"] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("at byte"), "{text}: {error}");
        }
        assert!(parse(&"(".repeat(100_000)).is_err());
        for dtype in ["1", "[1]", "[('a',)]", "[('a', 1)]", "[('a', '<f8', 3)]"] {
            assert_eq!(parse(dtype).unwrap().dtype(), None, "{dtype}");
        }
    }
}
