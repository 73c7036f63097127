//! Reads the key `credential` of an egress rule: what the gateway adds, where that comes from, and
//! how it is sent. A command runs on the host, so no file that comes with the code may name one.

use super::{Credential, CredentialForm};
use crate::policy::{
    Layer,
    fields::{self, items, map, scalar, text, unknown},
    names,
    sheet::{Mark, Sheet},
    yaml::{Node, Value},
};

const KEYS: [&str; 6] = ["secret", "command", "name", "header", "bearer", "basic"];
const FORMS: &str = "`header: x-api-key`, `bearer: true` or `basic: USER`";
/// The longest word of a command, in bytes, and the most words.
const WORD: usize = 4096;
const WORDS: usize = 64;

/// What is said of where the value comes from, as far as it was understood.
#[derive(Default)]
struct Origin {
    secret: Option<(Mark, Option<String>)>,
    command: Option<(Mark, Option<Vec<String>>)>,
    name: Option<(Mark, Option<String>)>,
}

/// Reads the value of `credential`.
pub(super) fn read(sheet: &mut Sheet<'_>, node: &Node) -> Option<Credential> {
    let mut origin = Origin::default();
    let mut forms = Vec::new();
    let mut strange = false;
    for (key, at, value) in map(sheet, node, "`credential`") {
        match key {
            "secret" => origin.secret = Some((at, secret(sheet, value))),
            "command" => origin.command = Some((at, command(sheet, at, value))),
            "name" => origin.name = Some((at, fields::secret(sheet, value))),
            "header" => forms.push(header(sheet, value).map(CredentialForm::Header)),
            "bearer" => forms.push(bearer(sheet, value)),
            "basic" => forms.push(user(sheet, value).map(|user| CredentialForm::Basic { user })),
            _ => {
                unknown(sheet, (key, at), &KEYS);
                strange = true;
            }
        }
    }
    // What is missing may be what is misspelt.
    let is_map = matches!(node.value, Value::Map(_)) && !strange;
    let message = match forms.len() {
        0 => "the credential does not say how it is sent",
        _ => "the credential says more than one way to send it",
    };
    if is_map && forms.len() != 1 {
        sheet.fault(node.at, message, Some(format!("add one of {FORMS}")));
    }
    let (secret, command) = origin.finish(sheet, is_map.then_some(node.at))?;
    Some(Credential {
        secret,
        command,
        form: forms.pop()??,
    })
}

impl Origin {
    /// Returns the name, and the command if it is one's; `whole` is where a missing key is said.
    fn finish(
        self,
        sheet: &mut Sheet<'_>,
        whole: Option<Mark>,
    ) -> Option<(String, Option<Vec<String>>)> {
        match (self.secret, self.command) {
            (Some(_), Some((at, _))) => {
                let help = "keep one of them".to_owned();
                let message = "the credential names both a secret and a command";
                sheet.fault(at, message, Some(help));
                None
            }
            (Some((_, secret)), None) => {
                if let Some((at, _)) = self.name {
                    let message = "`name` goes with `command`: a secret has its own";
                    sheet.fault(at, message, Some("drop `name`".to_owned()));
                }
                Some((secret?, None))
            }
            (None, Some((at, command))) => {
                if let (None, Some(_)) = (&self.name, whole) {
                    let help = "add `name: API`: agents hold `loki-placeholder-API` in its place"
                        .to_owned();
                    sheet.fault(at, "the command's token has no name", Some(help));
                }
                Some((self.name?.1?, Some(command?)))
            }
            (None, None) => {
                if let Some(at) = whole {
                    let help = "write { secret: API_KEY, header: x-api-key }".to_owned();
                    sheet.fault(at, "the credential names no secret", Some(help));
                }
                None
            }
        }
    }
}

fn command(sheet: &mut Sheet<'_>, at: Mark, node: &Node) -> Option<Vec<String>> {
    const EXAMPLE: &str = "[\"/usr/local/bin/token\", \"--for\", \"api\"]";
    if matches!(sheet.source().layer, Layer::BuiltIn | Layer::Project) {
        let help = "it runs on the host: say it in /etc/loki/policies, ~/.config/loki/policies or a file given with --policy";
        sheet.fault(
            at,
            "`command` may not stand in this layer",
            Some(help.to_owned()),
        );
    }
    if matches!(node.value, Value::Text(_)) {
        let message = "`command` is a list of words, and no shell reads it";
        sheet.fault(node.at, message, Some(format!("write {EXAMPLE}")));
        return None;
    }
    let list = items(sheet, node, EXAMPLE);
    if matches!(&node.value, Value::List(list) if list.is_empty() || list.len() > WORDS) {
        let message = format!("`command` has {} words, not 1 to {WORDS}", list.len());
        sheet.fault(node.at, message, Some(format!("write {EXAMPLE}")));
        return None;
    }
    let clean = sheet.faults();
    let mut words = Vec::new();
    for item in list {
        let Some(word) = text(sheet, item, "a word of the command") else {
            continue;
        };
        if word.len() > WORD || word.chars().any(char::is_control) {
            let help = "a program's arguments are one line each; put the rest into a script";
            let message =
                format!("a word of `command` has control characters or over {WORD} bytes");
            sheet.fault(item.at, message, Some(help.to_owned()));
        } else if words.is_empty() && !is_program(word) {
            let help = "write its path from the root, such as /usr/local/bin/token; `~` and PATH are not looked at";
            let message = format!("`{}` is not the path of a program", word.escape_debug());
            sheet.fault(item.at, message, Some(help.to_owned()));
        }
        words.push(word.to_owned());
    }
    (!words.is_empty() && sheet.faults() == clean).then_some(words)
}

/// Returns whether a path leads from the root to a file, without detours.
fn is_program(path: &str) -> bool {
    let parts = path.strip_prefix('/').map(|rest| rest.split('/'));
    parts.is_some_and(|mut parts| parts.all(|part| !matches!(part, "" | "." | "..")))
}

fn secret(sheet: &mut Sheet<'_>, node: &Node) -> Option<String> {
    let name = fields::secret(sheet, node)?;
    // What is shipped names the secrets of programs that not everybody uses: a start looks at those.
    let shipped = sheet.source().layer == Layer::BuiltIn;
    if let Some((message, help)) = names::no_secret(&name, sheet.facts()).filter(|_| !shipped) {
        sheet.fault(node.at, message, Some(help));
    }
    Some(name)
}

/// Headers that say how a message travels or where it goes: a value there breaks or moves it.
const OF_THE_MESSAGE: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

fn header(sheet: &mut Sheet<'_>, node: &Node) -> Option<String> {
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let name = |text: &str| {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(token);
        fits.then(|| text.to_ascii_lowercase())
    };
    let name = scalar(
        sheet,
        node,
        "the name of a header, such as `x-api-key`",
        name,
    )?;
    if OF_THE_MESSAGE.contains(&name.as_str()) {
        let help = "name the header that the service reads its key from".to_owned();
        let message = format!("`{name}` says how a message travels and can carry no secret");
        sheet.fault(node.at, message, Some(help));
    }
    Some(name)
}

fn bearer(sheet: &mut Sheet<'_>, node: &Node) -> Option<CredentialForm> {
    scalar(
        sheet,
        node,
        "`true`: leave `bearer` out otherwise",
        |text| (text == "true").then_some(CredentialForm::Bearer),
    )
}

fn user(sheet: &mut Sheet<'_>, node: &Node) -> Option<String> {
    let name = |text: &str| {
        let fits = (1..=128).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_graphic() && b != b':');
        fits.then(|| text.to_owned())
    };
    scalar(
        sheet,
        node,
        "a user name of printable ASCII without `:`",
        name,
    )
}
