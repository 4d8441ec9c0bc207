//! Writing a page: escaping, the frame around it, and an end to its length.

/// Longest page (bytes); of more the rest is left out and the page says so.
const LONGEST: usize = 8 << 20;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:0 auto;max-width:60rem;\
padding:1rem;color:#1c232b;background:#fff}h1{font-size:1.5rem;margin:.2rem 0 .8rem}\
h2{font-size:1.15rem;margin:1.2rem 0 .3rem;border-bottom:1px solid #ccd4dc}\
h3,h4,h5,h6{font-size:1rem;margin:.8rem 0 .2rem}dl.who{display:grid;\
grid-template-columns:max-content 1fr;gap:.1rem 1rem;background:#f2f5f8;padding:.7rem 1rem;\
border-radius:.4rem;margin:0}dt{color:#5b6875}dd{margin:0}section{margin-left:.9rem}\
p{margin:.25rem 0;white-space:pre-line;overflow-wrap:anywhere}p>b{font-weight:600}\
.s{color:#5b6875;font-size:.85em}table{border-collapse:collapse;margin:.4rem 0}\
th,td{border:1px solid #ccd4dc;padding:.2rem .6rem;text-align:left;vertical-align:top}\
th{background:#f2f5f8;font-weight:600}img{max-width:12rem;max-height:12rem;border-radius:.3rem;\
background:#000;display:block;margin:.2rem 0}svg{width:100%;height:auto;background:#fffafa;\
border:1px solid #eccccc}code{font-size:.85em}@media(prefers-color-scheme:dark){body{background:\
#14181d;color:#dde4ea}dl.who,th{background:#20262d}th,td,h2{border-color:#3a444e}dt,.s{color:#98a5b1}\
a{color:#8cc4ff}svg{background:#fff}}@media print{body{max-width:none}}";

/// A page under construction.
pub(super) struct Html {
    text: String,
    pub(super) chinese: bool,
    full: bool,
}

impl Html {
    /// A page up to its title.
    pub(super) fn start(chinese: bool, title: &str) -> Self {
        let language = if chinese { "zh-CN" } else { "en" };
        let title = escape(title);
        let text = format!(
            "<!doctype html>\n<html lang=\"{language}\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"robots\" content=\"noindex\"><title>{title}</title>\
             <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        );
        Self { text, chinese, full: false }
    }

    /// The word of the page's language.
    pub(super) fn word(&self, english: &'static str, chinese: &'static str) -> &'static str {
        if self.chinese { chinese } else { english }
    }

    /// Appends markup, whose texts must be escaped.
    pub(super) fn raw(&mut self, markup: &str) {
        if self.text.len() + markup.len() > LONGEST {
            self.full = true;
        }
        // A piece that does not fit is left out whole; what follows may still close what is open.
        if !self.full || (markup.starts_with("</") && markup.len() < 32) {
            self.text.push_str(markup);
        }
    }

    /// Whether nothing more will be written.
    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    /// Appends a heading of level 2 to 6.
    pub(super) fn heading(&mut self, level: usize, text: &str) {
        let level = level.clamp(2, 6);
        self.raw(&format!("<h{level}>{}</h{level}>\n", escape(text)));
    }

    /// Appends a paragraph of a name and a value.
    pub(super) fn line(&mut self, name: &str, value: &str) {
        let colon = if self.chinese { "：" } else { ": " };
        match name {
            "" => self.raw(&format!("<p>{}</p>\n", escape(value))),
            _ => self.raw(&format!("<p><b>{}</b>{colon}{}</p>\n", escape(name), escape(value))),
        }
    }

    /// Appends a table; rows without any text are left out, and so is a table without rows.
    pub(super) fn table(&mut self, head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
        let rows: Vec<Vec<String>> =
            rows.into_iter().filter(|row| row.iter().any(|cell| !cell.is_empty())).collect();
        if rows.is_empty() {
            return;
        }
        let cells = |tag: &str, texts: &mut dyn Iterator<Item = String>| {
            let cells: Vec<String> =
                texts.map(|text| format!("<{tag}>{}</{tag}>", escape(&text))).collect();
            format!("<tr>{}</tr>\n", cells.concat())
        };
        self.raw("<table>\n");
        self.raw(&cells("th", &mut head.iter().map(|text| (*text).to_owned())));
        for row in rows {
            self.raw(&cells("td", &mut row.into_iter()));
        }
        self.raw("</table>\n");
    }

    /// The finished page.
    pub(super) fn end(mut self) -> String {
        if self.full {
            let rest = self.word("The rest is left out.", "其余内容从略。");
            self.text.push_str(&format!("<p class=\"s\">{rest}</p>\n"));
        }
        self.text.push_str("</body></html>\n");
        self.text
    }
}

/// Text as it may stand in markup and in quoted attributes. Control characters are dropped.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\n' | '\t' => out.push(character),
            // CR LF and CR alone end lines too, in DICOM text.
            '\r' => {}
            control if control.is_control() => {}
            other => out.push(other),
        }
    }
    out
}
