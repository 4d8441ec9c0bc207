//! The capabilities as a Web Application Description (PS3.18 annex H).

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::dicomweb::routes::{self, Route};
use crate::dicomweb::wado::uri;

/// The document for a service whose root is `base`.
pub(super) fn document(base: &str) -> String {
    let mut resources: BTreeMap<String, Vec<&Route>> = BTreeMap::new();
    for route in routes::all() {
        resources.entry(route.shown()).or_default().push(route);
    }
    let mut text = String::from(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <application xmlns=\"http://wadl.dev.java.net/2009/02\">\n",
    );
    // Writing to a string cannot fail.
    let _ = writeln!(text, "  <resources base=\"{}\">", escape(base));
    for (path, routes) in resources {
        let _ = writeln!(text, "    <resource path=\"{}\">", escape(path.trim_start_matches('/')));
        for name in routes.first().into_iter().flat_map(|route| route.variables()) {
            let _ = writeln!(
                text,
                "      <param name=\"{name}\" style=\"template\" required=\"true\"/>"
            );
        }
        for route in routes {
            method(&mut text, route);
        }
        text.push_str("    </resource>\n");
    }
    text.push_str("  </resources>\n</application>\n");
    text
}

fn method(text: &mut String, route: &Route) {
    let (name, title) = (route.verb.name(), escape(route.says[0]));
    let _ = writeln!(text, "      <method name=\"{name}\"><doc title=\"{title}\"/>");
    let silent = route.query.is_empty() && route.takes.is_empty() && route.gives.is_empty();
    if !silent {
        text.push_str("        <request>\n");
        for query in route.query {
            let required = if uri::REQUIRED.contains(query) { " required=\"true\"" } else { "" };
            let _ = writeln!(text, "          <param name=\"{query}\" style=\"query\"{required}/>");
        }
        if let Some(default) = route.gives.first() {
            let _ = writeln!(
                text,
                "          <param name=\"Accept\" style=\"header\" default=\"{}\">",
                escape(default)
            );
            for media in route.gives {
                let _ = writeln!(text, "            <option value=\"{}\"/>", escape(media));
            }
            text.push_str("          </param>\n");
            // PS3.18 section 8.8: what character sets there are belongs to the capabilities.
            text.push_str(
                "          <param name=\"Accept-Charset\" style=\"header\" default=\"UTF-8\">\n            \
                 <option value=\"UTF-8\"/>\n          </param>\n",
            );
        }
        for media in route.takes {
            let media = escape(media);
            let _ = writeln!(text, "          <representation mediaType=\"{media}\"/>");
        }
        text.push_str("        </request>\n");
    }
    let statuses: Vec<String> = route.statuses().iter().map(u16::to_string).collect();
    let statuses = statuses.join(" ");
    if route.gives.is_empty() {
        let _ = writeln!(text, "        <response status=\"{statuses}\"/>");
    } else {
        let _ = writeln!(text, "        <response status=\"{statuses}\">");
        for media in route.gives {
            let media = escape(media);
            let _ = writeln!(text, "          <representation mediaType=\"{media}\"/>");
        }
        text.push_str("        </response>\n");
    }
    text.push_str("      </method>\n");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_quotes() {
        let text = document("http://h/\"><x>");
        assert!(text.contains("base=\"http://h/&quot;&gt;&lt;x&gt;\""), "{text}");
        assert!(text.contains("type=&quot;application/dicom&quot;"), "{text}");
        assert!(text.contains("Accept-Charset") && text.contains("<option value=\"UTF-8\"/>"));
    }
}
