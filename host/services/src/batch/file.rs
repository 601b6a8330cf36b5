//! A batch's rows from a CSV file.
//!
//! The first line names the columns. `number` has to be there; `caller_id` and `handler` may be; any other column is
//! metadata of the call, under its name. UTF-8, with or without a byte order mark; the separator is a comma, or a
//! semicolon where the header has no comma (as spreadsheets write it in many countries).

use voxtra_core::verbs::BatchRow;

use super::rows::{self, Draft, Intake, MAX_METADATA, MAX_ROWS, RefusedRow, Row, RowRules};

/// The largest file.
const MAX_FILE_BYTES: usize = 64 * 1_024 * 1_024;

/// The rows of a file, those that are called and those that are not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BatchFile {
    /// Those that are called, in order.
    pub rows: Vec<Row>,
    /// Those that are not.
    pub refused: Vec<RefusedRow>,
}

/// Why a file is of no use as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// It is too large.
    #[error("the file has more than 64 MiB; split it")]
    TooLarge,
    /// It has too many rows.
    #[error("the file has more than 100,000 rows; split it")]
    TooManyRows,
    /// It has no header.
    #[error("the file is empty; its first line has to name the columns, one of which is number")]
    Empty,
    /// The header is no good; the sentence says why.
    #[error("line 1: {0}")]
    Header(String),
}

impl BatchFile {
    /// Reads a file's contents. A row that is no good is among the refused, and the others are taken.
    pub fn parse(contents: &[u8], rules: RowRules<'_>) -> Result<Self, FileError> {
        if contents.len() > MAX_FILE_BYTES {
            return Err(FileError::TooLarge);
        }
        let contents = contents.strip_prefix(b"\xef\xbb\xbf").unwrap_or(contents);
        let mut reader = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .trim(csv::Trim::All)
            .delimiter(delimiter(contents))
            .from_reader(contents);
        let mut record = csv::ByteRecord::new();
        let columns = match reader.read_byte_record(&mut record) {
            Ok(true) => Columns::of(&record)?,
            Ok(false) => return Err(FileError::Empty),
            Err(error) => return Err(FileError::Header(error.to_string())),
        };
        let mut intake = Intake::new(rules);
        loop {
            let line = reader.position().line();
            match reader.read_byte_record(&mut record) {
                Ok(true) if intake.len() >= MAX_ROWS => return Err(FileError::TooManyRows),
                Ok(true) => columns.take(record.position().map_or(line, csv::Position::line), &record, &mut intake),
                Ok(false) => break,
                // Reading memory as bytes with any number of fields cannot fail; were it to, going on might not end.
                Err(error) => {
                    intake.refuse(line, "", format!("the file cannot be read from here on ({error})"));
                    break;
                }
            }
        }
        Ok(Self { rows: intake.rows, refused: intake.refused })
    }

    /// Checks a list, such as a handler's, as a file's rows are checked. More than [`MAX_ROWS`] are an error.
    pub fn from_list(list: Vec<BatchRow>, rules: RowRules<'_>) -> Result<Self, FileError> {
        if list.len() > MAX_ROWS {
            return Err(FileError::TooManyRows);
        }
        let (rows, refused) = rows::from_list(list, rules);
        Ok(Self { rows, refused })
    }
}

fn delimiter(contents: &[u8]) -> u8 {
    let header = contents.split(|byte| *byte == b'\n').next().unwrap_or_default();
    match !header.contains(&b',') && header.contains(&b';') {
        true => b';',
        false => b',',
    }
}

/// What each column is.
struct Columns(Vec<Column>);

enum Column {
    Number,
    CallerId,
    Handler,
    Metadata(String),
}

impl Columns {
    fn of(header: &csv::ByteRecord) -> Result<Self, FileError> {
        if header.len() > MAX_METADATA {
            return Err(FileError::Header(format!("there are more than {MAX_METADATA} columns")));
        }
        let mut names: Vec<&str> = Vec::with_capacity(header.len());
        let mut columns = Vec::with_capacity(header.len());
        for field in header {
            let name = std::str::from_utf8(field).map_err(|_| {
                FileError::Header("a column's name is not UTF-8; save the file as CSV in UTF-8".to_owned())
            })?;
            rows::name(name).map_err(|why| FileError::Header(format!("the column's name {why}")))?;
            if names.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                return Err(FileError::Header(format!("two columns are called {name}")));
            }
            names.push(name);
            columns.push(match name.to_ascii_lowercase().as_str() {
                "number" => Column::Number,
                "caller_id" => Column::CallerId,
                "handler" => Column::Handler,
                _ => Column::Metadata(name.to_owned()),
            });
        }
        match columns.iter().any(|column| matches!(column, Column::Number)) {
            true => Ok(Self(columns)),
            false => {
                Err(FileError::Header("no column is called number; the first line has to name the columns".into()))
            }
        }
    }

    fn take(&self, line: u64, record: &csv::ByteRecord, intake: &mut Intake<'_>) {
        let Some(fields) = record.iter().map(|field| std::str::from_utf8(field).ok()).collect::<Option<Vec<_>>>()
        else {
            return intake.refuse(line, "", "the row is not UTF-8; save the file as CSV in UTF-8".to_owned());
        };
        let mut draft = Draft::default();
        for (column, field) in self.0.iter().zip(&fields) {
            match column {
                Column::Number => draft.number = field,
                Column::CallerId => draft.caller_id = field,
                Column::Handler => draft.handler = field,
                Column::Metadata(_) if field.is_empty() => {}
                Column::Metadata(key) => draft.metadata.push((key.clone(), (*field).to_owned())),
            }
        }
        match fields.len() == self.0.len() {
            true => intake.take(line, draft),
            false => {
                let reason = format!("the row has {} fields, and the header {}", fields.len(), self.0.len());
                intake.refuse(line, draft.number, reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> BatchFile {
        BatchFile::parse(text.as_bytes(), RowRules::ANY).unwrap()
    }

    #[test]
    fn other_columns_are_metadata() {
        let file = parse("\u{feff}number,name,Caller_ID,handler\n+49 (30) 12-34,Anna,100,reminder\n200,,,\n");
        assert!(file.refused.is_empty());
        assert_eq!(file.rows[0].number, "+49301234");
        assert_eq!(file.rows[0].caller_id, "100");
        assert_eq!(file.rows[0].handler, "reminder");
        assert_eq!(file.rows[0].metadata, [("name".to_owned(), "Anna".to_owned())]);
        assert!(file.rows[1].metadata.is_empty());
    }

    #[test]
    fn bad_rows_are_told_with_their_lines_and_the_rest_is_taken() {
        let text =
            "number;note\n100;fine\n10a;letters\n;none\n100;again\n200;\"two\nlines\"\n300\n1;${EXTEN}\n400;fine\n";
        let file = parse(text);
        assert_eq!(file.rows.iter().map(|row| row.number.as_str()).collect::<Vec<_>>(), ["100", "400"]);
        let told: Vec<_> = file.refused.iter().map(|row| (row.line, row.reason.as_str())).collect();
        assert_eq!(told.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4, 5, 6, 8, 9]);
        for (told, word) in told.iter().zip(["not a number", "no number", "line 2", "line break", "fields", "${"]) {
            assert!(told.1.contains(word), "{told:?}");
        }
    }

    #[test]
    fn a_row_that_is_not_utf_8_is_refused_alone() {
        let file = BatchFile::parse(b"number\n\xff\xfe\n100\n", RowRules::ANY).unwrap();
        assert_eq!(file.rows.len(), 1);
        assert_eq!(file.refused[0].line, 2);
    }

    #[test]
    fn the_tenants_patterns_are_asked_about_the_number_that_is_dialled() {
        let only_german = |number: &str| match number.starts_with("+49") {
            true => Ok(()),
            false => Err(format!("{number} fits no dial pattern")),
        };
        let rules = RowRules { number: &only_german, ..RowRules::ANY };
        let file = BatchFile::parse(b"number\n+4 9123\n+1900123\n", rules).unwrap();
        assert_eq!(file.rows[0].number, "+49123");
        assert_eq!(file.refused[0].reason, "+1900123 fits no dial pattern");
    }

    #[test]
    fn nothing_that_a_pbx_would_act_on_is_a_number() {
        for number in
            ["PJSIP/100", "100@trunk", "1;transport=tls", "1\r\nX: y", "${EXTEN}", "1&2", "٣", "+", "++1", "1+"]
        {
            let list = vec![BatchRow { number: number.to_owned(), metadata: Vec::new() }];
            let file = BatchFile::from_list(list, RowRules::ANY).unwrap();
            assert_eq!((file.rows.len(), file.refused.len()), (0, 1), "{number}");
        }
    }

    #[test]
    fn a_file_without_a_header_says_so() {
        assert_eq!(BatchFile::parse(b"", RowRules::ANY), Err(FileError::Empty));
        assert!(BatchFile::parse(b"phone\n100\n", RowRules::ANY).unwrap_err().to_string().contains("number"));
        assert!(BatchFile::parse(b"number,number\n", RowRules::ANY).unwrap_err().to_string().contains("two columns"));
    }

    proptest! {
        #[test]
        fn no_file_makes_it_panic(contents in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut with_header = b"number,a\n".to_vec();
            let _ = BatchFile::parse(&contents, RowRules::ANY);
            with_header.extend(contents);
            let file = BatchFile::parse(&with_header, RowRules::ANY).unwrap();
            for row in file.rows {
                prop_assert!(row.number.trim_start_matches('+').chars().all(|c| "0123456789*#".contains(c)));
            }
        }

        #[test]
        fn every_row_is_taken_or_refused(numbers in proptest::collection::vec("[0-9a]{1,4}", 0..50)) {
            let text = format!("number\n{}\n", numbers.join("\n"));
            let file = parse(&text);
            prop_assert_eq!(file.rows.len() + file.refused.len(), numbers.len());
        }
    }
}
