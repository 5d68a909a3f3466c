//! The words of a PDF, and its dictionaries one level deep (ISO 32000-1, section 7.3).

/// One word. Numbers, `R`, `obj` and whatever else is [`Token::Word`].
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    Open,
    Close,
    ArrayOpen,
    ArrayClose,
    Name(&'a [u8]),
    Text(Vec<u8>),
    Word(&'a [u8]),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Text(Vec<u8>),
    Number(u64),
    /// The number of an object.
    Reference(u64),
    Name(&'a [u8]),
    /// What follows its `[` or `<<`, to the end of all bytes.
    Array(&'a [u8]),
    Dictionary(&'a [u8]),
    Other,
}

/// Reads words one after the other, and nothing behind the end of the bytes.
#[derive(Debug, Clone)]
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn number(&mut self) -> Option<u64> {
        match self.next()? {
            Token::Word(word) => str::from_utf8(word).ok()?.parse().ok(),
            _ => None,
        }
    }

    /// Whether the next word is this one.
    pub fn is(&mut self, word: &[u8]) -> bool {
        self.next() == Some(Token::Word(word))
    }

    pub fn value(&mut self) -> Option<Value<'a>> {
        Some(match self.next()? {
            Token::Text(text) => Value::Text(text),
            Token::Name(name) => Value::Name(name),
            Token::Word(word) => {
                let Some(number) = str::from_utf8(word).ok().and_then(|word| word.parse().ok()) else {
                    return Some(Value::Other);
                };
                let mut ahead = self.clone();
                if ahead.number().is_some() && ahead.is(b"R") {
                    *self = ahead;
                    return Some(Value::Reference(number));
                }
                Value::Number(number)
            }
            Token::Open => {
                let inside = self.rest;
                self.skip_nested()?;
                Value::Dictionary(inside)
            }
            Token::ArrayOpen => {
                let inside = self.rest;
                self.skip_nested()?;
                Value::Array(inside)
            }
            Token::Close | Token::ArrayClose => return None,
        })
    }

    /// Goes behind the end of the dictionary or array that was just opened.
    fn skip_nested(&mut self) -> Option<()> {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.next()? {
                Token::Open | Token::ArrayOpen => depth += 1,
                Token::Close | Token::ArrayClose => depth -= 1,
                _ => {}
            }
        }
        Some(())
    }

    fn skip(&mut self, len: usize) {
        self.rest = self.rest.get(len..).unwrap_or_default();
    }

    /// Goes to the next word.
    pub fn skip_space(&mut self) {
        loop {
            let space = self.rest.iter().take_while(|byte| is_space(**byte)).count();
            self.skip(space);
            if self.rest.first() != Some(&b'%') {
                return;
            }
            let comment = self.rest.iter().take_while(|byte| !matches!(byte, b'\r' | b'\n')).count();
            self.skip(comment);
        }
    }

    /// A run of ordinary characters.
    fn run(&mut self) -> &'a [u8] {
        let len = self.rest.iter().take_while(|byte| !is_space(**byte) && !is_delimiter(**byte)).count();
        let (run, rest) = self.rest.split_at(len);
        self.rest = rest;
        run
    }

    /// What stands between parentheses (section 7.3.4.2); the first one is read already.
    fn literal(&mut self) -> Option<Vec<u8>> {
        let mut text = Vec::new();
        let mut depth = 1_usize;
        let mut bytes = self.rest.iter().copied().peekable();
        while depth > 0 {
            match bytes.next()? {
                b'(' => {
                    depth += 1;
                    text.push(b'(');
                }
                b')' => {
                    depth -= 1;
                    if depth > 0 {
                        text.push(b')');
                    }
                }
                b'\\' => match bytes.next()? {
                    b'n' => text.push(b'\n'),
                    b'r' => text.push(b'\r'),
                    b't' => text.push(b'\t'),
                    b'b' => text.push(8),
                    b'f' => text.push(12),
                    // The line goes on.
                    b'\n' => {}
                    b'\r' => drop(bytes.next_if_eq(&b'\n')),
                    digit @ b'0'..=b'7' => {
                        let mut code = digit - b'0';
                        for _ in 0..2 {
                            let Some(digit) = bytes.next_if(|byte| matches!(byte, b'0'..=b'7')) else { break };
                            code = code.wrapping_mul(8).wrapping_add(digit - b'0');
                        }
                        text.push(code);
                    }
                    other => text.push(other),
                },
                byte => text.push(byte),
            }
        }
        let left = bytes.count();
        self.skip(self.rest.len() - left);
        Some(text)
    }

    /// Pairs of hexadecimal digits (section 7.3.4.3); the `<` is read already.
    fn hexadecimal(&mut self) -> Option<Vec<u8>> {
        let len = self.rest.iter().position(|byte| *byte == b'>')?;
        let digits = self.rest[..len].iter().filter_map(|byte| char::from(*byte).to_digit(16));
        // A last digit that is alone stands for itself and a zero.
        let digits: Vec<u8> = digits.map(|digit| digit as u8).collect();
        self.skip(len + 1);
        Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0)).collect())
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip_space();
        let (token, len) = match self.rest {
            [b'<', b'<', ..] => (Token::Open, 2),
            [b'>', b'>', ..] => (Token::Close, 2),
            [b'[', ..] => (Token::ArrayOpen, 1),
            [b']', ..] => (Token::ArrayClose, 1),
            [b'(', ..] => {
                self.skip(1);
                return self.literal().map(Token::Text);
            }
            [b'<', ..] => {
                self.skip(1);
                return self.hexadecimal().map(Token::Text);
            }
            [b'/', ..] => {
                self.skip(1);
                return Some(Token::Name(self.run()));
            }
            // Braces, and what has lost its partner.
            [byte, ..] if is_delimiter(*byte) => (Token::Word(&self.rest[..1]), 1),
            [_, ..] => return Some(Token::Word(self.run())),
            [] => return None,
        };
        self.skip(len);
        Some(token)
    }
}

/// The keys of a dictionary and their values.
#[derive(Debug)]
pub(super) struct Dictionary<'a> {
    entries: Vec<(&'a [u8], Value<'a>)>,
}

impl<'a> Dictionary<'a> {
    /// Reads the dictionary that comes next.
    pub fn read(tokens: &mut Tokens<'a>) -> Option<Self> {
        if tokens.next()? != Token::Open {
            return None;
        }
        Self::read_inside(tokens)
    }

    /// The same when its `<<` is read already.
    pub fn read_inside(tokens: &mut Tokens<'a>) -> Option<Self> {
        let mut entries = Vec::new();
        loop {
            match tokens.next()? {
                Token::Close => return Some(Self { entries }),
                Token::Name(key) => entries.push((key, tokens.value()?)),
                _ => return None,
            }
        }
    }

    pub fn value(&self, key: &str) -> Option<&Value<'a>> {
        self.entries.iter().find(|(name, _)| *name == key.as_bytes()).map(|(_, value)| value)
    }

    pub fn number(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Number(number) => Some(*number),
            _ => None,
        }
    }

    pub fn reference(&self, key: &str) -> Option<u64> {
        match self.value(key)? {
            Value::Reference(number) => Some(*number),
            _ => None,
        }
    }

    /// The numbers of an array; none if there is no such array.
    pub fn numbers(&self, key: &str) -> Vec<u64> {
        match self.value(key) {
            Some(Value::Array(inside)) => {
                let mut tokens = Tokens::new(inside);
                std::iter::from_fn(|| tokens.number()).collect()
            }
            _ => Vec::new(),
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, 0 | b'\t' | b'\n' | 12 | b'\r' | b' ')
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_read_in_both_forms() {
        for (written, expected) in [
            (&b"(plain)"[..], &b"plain"[..]),
            (b"(a (nested (one)) b)", b"a (nested (one)) b"),
            (b"(\\(\\)\\\\\\n\\t\\x)", b"()\\\n\tx"),
            (b"(\\101\\7\\1011\\400)", b"A\x07A1\0"),
            (b"(one \\\nline \\\r\nonly)", b"one line only"),
            (b"<48 65\n6c6C 6f>", b"Hello"),
            (b"<487>", b"Hp"),
            (b"()", b""),
            (b"% comment (x)\n <>", b""),
        ] {
            assert_eq!(Tokens::new(written).next(), Some(Token::Text(expected.to_vec())), "{written:?}");
        }
        for open in [&b"(no end"[..], b"(\\", b"(()", b"<48"] {
            assert_eq!(Tokens::new(open).next(), None, "{open:?}");
        }
    }

    #[test]
    fn dictionaries_are_read_one_level_deep() {
        let written =
            b"<</Title(T)/A/Title/Nested<</Title(no)/B[(x)]>>/W[1 2 3]/Info 12 0 R/Size 4/N null/D -1.5>>stream";
        let mut tokens = Tokens::new(written);
        let dictionary = Dictionary::read(&mut tokens).unwrap();
        assert_eq!(dictionary.value("Title"), Some(&Value::Text(b"T".to_vec())));
        assert_eq!(dictionary.value("A"), Some(&Value::Name(b"Title")));
        assert_eq!(dictionary.reference("Info"), Some(12));
        assert_eq!(dictionary.number("Size"), Some(4));
        assert_eq!(dictionary.numbers("W"), [1, 2, 3]);
        assert_eq!(dictionary.value("N"), Some(&Value::Other));
        assert_eq!(dictionary.value("D"), Some(&Value::Other));
        assert_eq!(tokens.rest(), b"stream");
        for wrong in [&b"<<"[..], b"<</A>>", b"<</A 1", b"<<1>>", b"(x)", b"<</A[>>", b""] {
            assert!(Dictionary::read(&mut Tokens::new(wrong)).is_none(), "{wrong:?}");
        }
    }
}
