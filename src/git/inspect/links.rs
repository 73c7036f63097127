//! Where the links of a tree lead, by their text alone: no file system is asked.
//!
//! An agent makes links by the thousand, each through all others, with targets of thousands of
//! parts. So each is followed once, a part of a target costs its own length whatever stands before
//! it, and there is a bound for all of them together. Behind it every link counts as one that leads
//! out, and [`Ways::overrun`] says so.

use std::{
    collections::{BTreeMap, HashMap},
    rc::Rc,
};

use super::{Remark, folds_to_git};

/// How many links one path may lead through, as in the kernel.
const HOPS: usize = 40;
/// Bytes of names that are gone through for all links of a tree.
const BYTES: usize = 64 << 20;
const TOO_MANY: &str = "leads through too many links";
const ABSOLUTE: &str = "is absolute";

/// Where a link leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::git) struct Way<'a> {
    /// The path in the tree, which need not exist.
    pub(in crate::git) to: Vec<u8>,
    /// The links in its own text, in their order.
    pub(in crate::git) through: Vec<&'a [u8]>,
    /// How many links it leads through in all.
    hops: usize,
}

/// Why a link cannot be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Astray {
    /// It leads out.
    Out(&'static str),
    /// It was begun too far from where the question began for an answer to be its own.
    Deep,
}

type Followed<'a> = Result<Rc<Way<'a>>, Astray>;

/// The links of a tree.
pub(in crate::git) struct Ways<'a> {
    /// By where they stand in `steps`.
    links: HashMap<usize, (&'a [u8], &'a [u8])>,
    /// Every path of a link, name by name: what name leads from which place to which.
    steps: HashMap<(usize, &'a [u8]), usize>,
    known: HashMap<usize, Result<Rc<Way<'a>>, &'static str>>,
    left: usize,
    is_overrun: bool,
}

impl<'a> Ways<'a> {
    /// Collects links with their targets.
    pub(in crate::git) fn new(links: &BTreeMap<&'a [u8], &'a [u8]>) -> Self {
        let mut ways = Self {
            links: HashMap::new(),
            steps: HashMap::new(),
            known: HashMap::new(),
            left: BYTES,
            is_overrun: false,
        };
        for (path, target) in links {
            let mut place = 0;
            for name in path.split(|byte| *byte == b'/') {
                let next = ways.steps.len() + 1;
                place = *ways.steps.entry((place, name)).or_insert(next);
            }
            ways.links.insert(place, (path, target));
        }
        ways
    }

    /// Says where a link at `path` with this target leads, or why it leads out.
    pub(in crate::git) fn follow(
        &mut self,
        path: &[u8],
        target: &'a [u8],
    ) -> Result<Rc<Way<'a>>, &'static str> {
        let followed = match self.place(path) {
            Some(place) if self.links[&place].1 == target => self.known(place, 0),
            _ => self.walk((path, target), 0).map(Rc::new),
        };
        followed.map_err(|astray| match astray {
            Astray::Out(why) => why,
            Astray::Deep => TOO_MANY,
        })
    }

    /// Returns every link on the way of one, its own excepted.
    pub(in crate::git) fn all_through(&mut self, way: &Way<'a>) -> Vec<&'a [u8]> {
        let mut all: Vec<&'a [u8]> = Vec::new();
        let mut ahead = way.through.clone();
        while let Some(path) = ahead.pop() {
            if all.contains(&path) {
                continue;
            }
            all.push(path);
            if let Some(place) = self.place(path)
                && let Ok(further) = self.known(place, 0)
            {
                ahead.extend(&further.through);
            }
        }
        all
    }

    /// Returns the breach of a tree whose links are more than can be followed.
    pub(in crate::git) fn overrun(&self) -> Option<Remark> {
        let message = "the links lead through more names than can be judged";
        self.is_overrun.then(|| Remark::new("count", b".", message))
    }

    /// Returns where the link at a path stands among the steps.
    fn place(&self, path: &[u8]) -> Option<usize> {
        let mut place = 0;
        for name in path.split(|byte| *byte == b'/') {
            place = *self.steps.get(&(place, name))?;
        }
        self.links.contains_key(&place).then_some(place)
    }

    fn known(&mut self, place: usize, depth: usize) -> Followed<'a> {
        if let Some(known) = self.known.get(&place) {
            return known.clone().map_err(Astray::Out);
        }
        if depth > HOPS {
            return Err(Astray::Deep);
        }
        let followed = self.walk(self.links[&place], depth).map(Rc::new);
        let lasting = match &followed {
            Ok(way) => Ok(Rc::clone(way)),
            Err(Astray::Out(why)) => Err(*why),
            Err(Astray::Deep) if depth == 0 => Err(TOO_MANY),
            Err(Astray::Deep) => return followed,
        };
        self.known.insert(place, lasting);
        followed
    }

    fn walk(&mut self, (path, target): (&[u8], &'a [u8]), depth: usize) -> Result<Way<'a>, Astray> {
        if target.starts_with(b"/") {
            return Err(Astray::Out(ABSOLUTE));
        }
        let above = path.rsplitn(2, |byte| *byte == b'/').nth(1);
        let mut at = Spot::of(above.unwrap_or_default(), &self.steps);
        let (mut through, mut hops) = (Vec::new(), 0);
        self.spend(path.len())?;
        for name in target.split(|byte| *byte == b'/') {
            self.spend(name.len() + 1)?;
            match name {
                b"" | b"." => {}
                b".." => at.leave().ok_or(Astray::Out("leaves the worktree"))?,
                name if folds_to_git(name) => return Err(Astray::Out("leads into `.git`")),
                name => {
                    at.enter(name, &self.steps);
                    let Some(place) = at.place.filter(|at| self.links.contains_key(at)) else {
                        continue;
                    };
                    let next = self
                        .known(place, depth + 1)
                        .map_err(|astray| match astray {
                            Astray::Out(ABSOLUTE) => Astray::Out("leads through an absolute link"),
                            other => other,
                        })?;
                    through.push(self.links[&place].0);
                    hops += 1 + next.hops;
                    if hops > HOPS {
                        return Err(Astray::Out(TOO_MANY));
                    }
                    self.spend(next.to.len())?;
                    at = Spot::of(&next.to, &self.steps);
                }
            }
        }
        Ok(Way {
            to: at.path,
            through,
            hops,
        })
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Astray> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => {
                self.is_overrun = true;
                return Err(Astray::Out("leads through more names than can be judged"));
            }
        }
        Ok(())
    }
}

/// A place in a tree, as one goes through it.
#[derive(Default)]
struct Spot {
    path: Vec<u8>,
    /// What it is among the steps; none where no link is below.
    place: Option<usize>,
    /// Length and place of each directory above.
    above: Vec<(usize, Option<usize>)>,
}

impl Spot {
    fn of(path: &[u8], steps: &HashMap<(usize, &[u8]), usize>) -> Self {
        let mut spot = Self {
            place: Some(0),
            ..Self::default()
        };
        let names = path.split(|byte| *byte == b'/');
        for name in names.filter(|name| !name.is_empty()) {
            spot.enter(name, steps);
        }
        spot
    }

    fn enter(&mut self, name: &[u8], steps: &HashMap<(usize, &[u8]), usize>) {
        self.above.push((self.path.len(), self.place));
        if !self.path.is_empty() {
            self.path.push(b'/');
        }
        self.path.extend(name);
        let next = |place| steps.get(&(place, name)).copied();
        self.place = self.place.and_then(next);
    }

    fn leave(&mut self) -> Option<()> {
        let (length, place) = self.above.pop()?;
        self.path.truncate(length);
        self.place = place;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{HOPS, Ways};

    fn links<'a>(texts: &'a [(String, String)]) -> BTreeMap<&'a [u8], &'a [u8]> {
        let link = |(path, target): &'a (String, String)| (path.as_bytes(), target.as_bytes());
        texts.iter().map(link).collect()
    }

    fn chain(length: usize, last: &str) -> Vec<(String, String)> {
        let next = |at| match at + 1 < length {
            true => format!("l{}", at + 1),
            false => last.to_owned(),
        };
        (0..length).map(|at| (format!("l{at}"), next(at))).collect()
    }

    #[test]
    fn a_link_leads_through_so_many_and_no_more_whichever_is_asked_first() {
        for (length, first) in [(HOPS + 1, true), (HOPS + 2, false)] {
            let texts = chain(length, "end");
            let links = links(&texts);
            let mut ways = Ways::new(&links);
            let mut ends = |at: usize| {
                let way = ways.follow(texts[at].0.as_bytes(), texts[at].1.as_bytes());
                way.is_ok_and(|way| way.to == b"end")
            };
            assert_eq!(ends(0), first, "{length}");
            assert!((1..length).all(ends), "{length}");
        }
    }

    #[test]
    fn every_link_on_the_way_is_named_once() {
        let texts = [("a", "b/x"), ("b", "c"), ("c", "d/../e"), ("d", "f")];
        let texts = texts.map(|(path, target)| (path.to_owned(), target.to_owned()));
        let links = links(&texts);
        let mut ways = Ways::new(&links);
        let way = ways.follow(b"a", b"b/x").unwrap();
        assert_eq!(way.to, b"e/x");
        let mut all = ways.all_through(&way);
        all.sort_unstable();
        assert_eq!(all, [b"b", b"c", b"d"]);
    }

    /// Links of hundreds of parts, each through dozens of others: going through them anew for each
    /// took longer than a person waits.
    #[test]
    fn attack_g07_links_through_links_through_links_are_followed_once_each() {
        let long = format!("{}{}", "a/".repeat(800), "../".repeat(800));
        let mut texts: Vec<_> = chain(HOPS - 2, "end")
            .into_iter()
            .map(|(path, target)| (path, format!("{long}{target}")))
            .collect();
        texts.extend((0..4000).map(|at| (format!("e{at}"), format!("{long}l0"))));
        let links = links(&texts);
        let mut ways = Ways::new(&links);
        for (path, target) in &links {
            let way = ways.follow(path, target).unwrap();
            assert_eq!(way.to, b"end");
        }
        assert!(ways.overrun().is_none());
    }

    #[test]
    fn attack_g07_more_than_can_be_followed_is_a_breach_and_leads_out() {
        let long = "a/".repeat(2000);
        let texts: Vec<_> = (0..20_000)
            .map(|at| (format!("e{at}"), long.clone()))
            .collect();
        let links = links(&texts);
        let mut ways = Ways::new(&links);
        let mut followed = 0;
        for (path, target) in &links {
            followed += u32::from(ways.follow(path, target).is_ok());
        }
        assert!(followed > 10_000 && followed < 20_000, "{followed}");
        assert_eq!(ways.overrun().unwrap().rule, "count");
    }
}
