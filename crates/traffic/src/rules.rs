//! The rules of a route, and which of them are meant.

use serde_json::Value;

use crate::document::Document;
use crate::error::{Problem, Wrong};
use crate::provider::Provider;
use crate::selection::Rule;

/// One rule of a route.
#[derive(Debug)]
pub(crate) struct Found {
    /// In which document.
    pub(crate) document: usize,
    /// Where in it.
    pub(crate) pointer: String,
    name: Option<String>,
    number: usize,
}

/// A document, and what its rule is called.
pub(crate) type Named<'a> = (Document<'a>, Option<String>);

/// Where rules are looked for: in the object, or in texts that stand in it.
pub(crate) fn documents<'a>(
    provider: &Provider,
    rule: Option<&Rule>,
    object: &'a Value,
) -> Result<Vec<Named<'a>>, Wrong> {
    let Some(text) = &provider.text else {
        return Ok(vec![(Document::object(object), None)]);
    };
    let found = text.find(object, false);
    if found.is_empty() {
        return Err(Problem::Nothing.at(text.to_string()));
    }
    let named_otherwise = |star: Option<&String>| match (rule, star) {
        (Some(Rule::Name(wanted)), Some(name)) => wanted != name,
        _ => false,
    };
    let mut documents = Vec::new();
    for found in &found {
        // What a rule that is not meant says may be no JSON at all.
        if named_otherwise(found.star.as_ref()) {
            continue;
        }
        let document = Document::text(found).map_err(|problem| problem.at(&found.pointer))?;
        documents.push((document, found.star.clone()));
    }
    if documents.is_empty()
        && let Some(rule) = rule
    {
        let known = found.into_iter().filter_map(|found| found.star).collect();
        let rule = rule.clone();
        return Err(Problem::NoSuchRule { rule, known }.at(text.to_string()));
    }
    Ok(documents)
}

/// The rules that are meant.
pub(crate) fn chosen(
    provider: &Provider,
    wanted: Option<&Rule>,
    documents: &[Named<'_>],
) -> Result<Vec<Found>, Wrong> {
    let mut rules = Vec::new();
    for (document, (value, star)) in documents.iter().enumerate() {
        for found in provider.rules.find(&value.value, provider.any_case) {
            let own = provider.rule_name.as_ref().and_then(|name| {
                let name = name.first(found.value, provider.any_case)?;
                Some(name.value.as_str()?.to_owned())
            });
            rules.push(Found {
                document,
                pointer: found.pointer,
                name: own.or_else(|| star.clone()),
                number: rules.len(),
            });
        }
    }
    let at = || match &provider.text {
        Some(text) => format!("{text}#{}", provider.rules),
        None => provider.rules.to_string(),
    };
    if rules.is_empty() {
        return Err(Problem::Nothing.at(at()));
    }
    let Some(wanted) = wanted else {
        return Ok(rules);
    };
    let known = rules.iter().map(Found::label).collect();
    rules.retain(|rule| rule.is(wanted));
    let rule = wanted.clone();
    match rules.len() {
        0 => Err(Problem::NoSuchRule { rule, known }.at(at())),
        1 => Ok(rules),
        times => Err(Problem::RuleTwice { rule, times }.at(at())),
    }
}

impl Found {
    fn label(&self) -> String {
        match &self.name {
            Some(name) => format!("{} ({name})", self.number),
            None => self.number.to_string(),
        }
    }

    fn is(&self, wanted: &Rule) -> bool {
        match wanted {
            Rule::Number(number) => self.number == *number,
            Rule::Name(name) => self.name.as_ref() == Some(name),
        }
    }
}
