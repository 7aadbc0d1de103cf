//! Chat templates: any template and any message give a prompt of bounded size or an error.
//!
//! The input is a template, a zero byte, and the words of a message; without the zero byte the
//! words are empty.

use std::time::Duration;

use carat::ChatTemplate;

use crate::said;
use crate::said::within;

/// Renders the template with a conversation around the words.
pub fn template(data: &[u8]) -> bool {
    let end = data.iter().position(|byte| *byte == 0).unwrap_or(data.len());
    let source = String::from_utf8_lossy(&data[..end]);
    let words = String::from_utf8_lossy(data.get(end + 1..).unwrap_or_default());
    let template = match within(LONGEST, || ChatTemplate::new(&source)) {
        Ok(template) => template,
        Err(error) => return said::refused(&error),
    };
    // A string in Rust's notation would be no JSON.
    let words: String = words.chars().filter(|c| !c.is_control() && !"\"\\".contains(*c)).collect();
    let json = format!(
        "{{\"messages\": [{{\"role\": \"user\", \"content\": \"{words}\"}}, {{\"role\": \
         \"assistant\", \"content\": null, \"tool_calls\": [{{\"function\": {{\"name\": \"f\", \
         \"arguments\": {{\"a\": [1, 2.5, true, null, 36893488147419103232]}}}}}}]}}], \
         \"x\": [3, 1, 2], \"d\": {{\"b\": 1, \"A\": [\"two\"]}}, \"bos_token\": \"<bos>\"}}"
    );
    let rendered = match within(LONGEST, || template.render_json(&json)) {
        Ok(rendered) => rendered,
        Err(error) => return said::refused(&error),
    };
    let text = rendered.text();
    assert!(text.len() < BYTES_MAX + 64 * json.len(), "{} bytes", text.len());
    let mut from = 0;
    for span in rendered.trusted() {
        assert!(from <= span.start && span.start < span.end, "{span:?} after {from}");
        from = span.end;
        assert!(text.get(span).is_some(), "a span cuts a character");
    }
    true
}

/// Templates around everything that makes strings or sizes.
pub fn template_seeds() -> Vec<Vec<u8>> {
    let seeds = [
        "{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content | trim }}\n{% endfor %}\0hi",
        "{% macro f(a, b=1) %}{{ a }}{{ caller(b) if caller }}{% endmacro %}{% call(x) f(2) %}{{ x }}{% endcall %}",
        "{{ '{:>{}}|{:,.3f}|{!r}'.format('a', 9, 12345.678, x) }}{{ '%05d %(a)s' % {'a': 1} }}",
        "{% set n = namespace(x='a') %}{% for i in range(9) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
        "{{ d|tojson(indent=2) }}{{ x|sort(reverse=true)|join(', ') }}{{ d.items()|list }}",
        "{{ messages[0].content[::-1].split('a', 1) }}{{ 2**70 // 3 }}{{ -7 % 3.5 }}\0banana",
        "{{ 'a b\nc'|wordwrap(3)|indent(2, true)|truncate(5) }}{{ messages[0].content|striptags }}\0<b>x",
        "{% for i in [[1, [2]]] recursive %}{{ loop(i) if i is iterable else i }}{% else %}{% endfor %}",
        "{% raw %}{{ x }}{% endraw %}{#- c -#} {%- if x is odd %}a{% elif d %}b{% endif -%} {{ strftime_now('%Y') }}",
        "{{ x|map('string')|groupby(0)|list }}{{ x|batch(2, 'f')|list }}{{ messages|selectattr('role', 'eq', 'user')|list }}",
        "{% generation %}{% filter upper %}\u{df}\u{3a3}{{ messages[0].content.title() }}{% endfilter %}{% endgeneration %}\0\u{fb01}sh",
    ];
    seeds.iter().map(|seed| seed.as_bytes().to_vec()).collect()
}

/// What the values of a template may hold, in bytes; a character takes four.
const BYTES_MAX: usize = 24 << 20;

/// A million steps, some of which look at a million bytes.
const LONGEST: Duration = Duration::from_secs(2);
