//! What became of letters that were sent back.
//!
//! A letter is known by its request: the tables name it, and a message keeps it through every re-drive.
//! It is **stored** when the payment's item bears its request; **refused** when the refusals have a
//! record of its request; a **duplicate** when the item is of another request and is the same payment,
//! which is certain even before the function has looked, because an item never changes; **back** when
//! the dead-letter queue holds its request with a higher re-drive count. Until one of these is so, it is
//! under way.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use futures::StreamExt;
use indicatif::ProgressBar;
use payments_table::{Failure, Kind, PaymentItem, PaymentsTable, Record};
use schema::canonical;
use schema::payment::readable_payment_id;

use crate::hold::Wish;
use crate::letter::Letter;
use crate::queue::{Error, depth};
use crate::terminal::progress;
use crate::{Desk, hold::Interrupt};

/// How long letters are followed. A payment that fails again for a passing reason takes longer: its
/// retries alone take up to half an hour.
pub const FOLLOW_MAX: Duration = Duration::from_secs(5 * 60);

/// Pauses between two rounds of looking: short ones first, then longer, so that following many letters
/// does not use up what the tables can read.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Letters that are looked up at once.
const LOOKS_MAX: usize = 16;

/// What the tables know of a letter's payment.
#[derive(Debug, Clone, Default)]
pub struct Known {
    /// The payment's item.
    pub item: Option<PaymentItem>,
    /// What is on record of the letter's request.
    pub record: Option<Record>,
}

/// What became of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Its payment is stored, by its own request.
    Stored,
    /// Its payment was stored by another request.
    Duplicate,
    /// It is refused, on record, for this reason.
    Refused(String),
    /// None of these so far.
    Open,
}

/// When following ends, if not before by Ctrl-C or after [`FOLLOW_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// The outcome of each letter is known.
    All,
    /// One letter has another outcome than to be back for the same reason as the others.
    Different,
}

/// What became of many.
#[derive(Debug, Default)]
pub struct Followed {
    /// Stored by their own request.
    pub stored: usize,
    /// Stored by another request.
    pub duplicates: usize,
    /// Refused, by reason.
    pub refused: BTreeMap<String, usize>,
    /// Dead again: the message's new id, and the reason.
    pub back: Vec<(String, String)>,
    /// Letters whose outcome is not known yet.
    pub open: Vec<Letter>,
    /// Why a table could not be asked, the last time.
    pub failure: Option<Failure>,
}

/// Asks the tables about a letter.
///
/// # Errors
/// A table gives no answer.
pub async fn look_up(tables: &PaymentsTable, letter: &Letter) -> Result<Known, Failure> {
    let Some(sub) = letter.envelope.sub.as_deref() else { return Ok(Known::default()) };
    let payment_id = readable_payment_id(&letter.body);
    let payment_id = payment_id.as_ref().map(schema::text::PaymentId::as_str);
    let item = match payment_id {
        Some(payment_id) => tables.payment(sub, payment_id).await?,
        None => None,
    };
    let record = tables.record_of(sub, payment_id, letter.request_id()).await?;
    Ok(Known { item, record })
}

/// What became of a letter, by what the tables know.
#[must_use]
pub fn outcome(letter: &Letter, known: &Known) -> Outcome {
    let item = known.item.as_ref();
    if item.is_some_and(|item| item.request_id == letter.request_id()) {
        return Outcome::Stored;
    }
    if let Some(record) = known.record.as_ref().filter(|record| record.kind == Kind::Refused) {
        return Outcome::Refused(record.reason.clone());
    }
    match item {
        Some(item) if canonical::differences(&item.body, letter.properties()).is_empty() => {
            Outcome::Duplicate
        }
        Some(_) | None => Outcome::Open,
    }
}

impl Followed {
    /// The one reason for which every letter with an outcome is back, if it is so.
    #[must_use]
    pub fn back_for(&self) -> Option<&str> {
        let settled = self.stored + self.duplicates + self.refused.values().sum::<usize>();
        let (_, reason) = self.back.first().filter(|_| settled == 0)?;
        self.back.iter().all(|(_, other)| other == reason).then_some(reason)
    }

    fn is_over(&self, until: Until) -> bool {
        let is_different = || {
            let is_none = self.stored + self.duplicates + self.refused.len() + self.back.len() == 0;
            !is_none && self.back_for().is_none()
        };
        self.open.is_empty() || (until == Until::Different && is_different())
    }
}

/// Follows the open letters, which were sent back, for [`FOLLOW_MAX`] at the most.
///
/// # Errors
/// The queue gives no answer.
pub async fn follow(
    desk: &Desk,
    tables: &PaymentsTable,
    followed: &mut Followed,
    until: Until,
) -> Result<(), Error> {
    let bar = progress("following", u64::try_from(followed.open.len()).unwrap_or_default());
    let (started, mut pause) = (Instant::now(), PAUSE_MIN);
    while !followed.is_over(until) {
        let is_last = started.elapsed() > FOLLOW_MAX || desk.interrupt.is_set();
        // Before the tables: the function deletes a message only after its outcome is durable.
        let is_drained = depth(&desk.place.sqs, &desk.place.queue_url).await?.total() == 0;
        settle(tables, followed).await;
        // Many dead letters take long to look at, few are worth a look every time.
        let looks_back = is_drained || is_last || until == Until::Different;
        if !followed.is_over(until) && looks_back {
            find_back(desk, followed).await?;
        }
        let open = followed.open.len() as u64;
        bar.set_position(bar.length().unwrap_or_default().saturating_sub(open));
        if is_last {
            break;
        }
        if !followed.is_over(until) {
            rest(pause, &desk.interrupt).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
    bar.finish_and_clear();
    Ok(())
}

/// Looks each open letter up.
async fn settle(tables: &PaymentsTable, followed: &mut Followed) {
    followed.failure = None;
    let looks = std::mem::take(&mut followed.open).into_iter().map(|letter| async move {
        let known = look_up(tables, &letter).await;
        (letter, known)
    });
    let mut looks = futures::stream::iter(looks).buffer_unordered(LOOKS_MAX);
    while let Some((letter, known)) = looks.next().await {
        match known.map(|known| outcome(&letter, &known)) {
            Ok(Outcome::Stored) => followed.stored += 1,
            Ok(Outcome::Duplicate) => followed.duplicates += 1,
            Ok(Outcome::Refused(reason)) => *followed.refused.entry(reason).or_default() += 1,
            Ok(Outcome::Open) => followed.open.push(letter),
            Err(failure) => {
                followed.failure = Some(failure);
                followed.open.push(letter);
            }
        }
    }
}

/// Looks for the open letters among the dead.
async fn find_back(desk: &Desk, followed: &mut Followed) -> Result<(), Error> {
    let holder = desk.holder();
    // Ctrl-C ends the following, and this last look is its end.
    let never = Interrupt::default();
    let scan = holder.scan(Wish::default(), &never, &ProgressBar::hidden()).await;
    holder.release_all().await;
    let dead = scan?.letters;
    let mut by_request: HashMap<&str, &Letter> = HashMap::new();
    for letter in &dead {
        // Of several copies the one that was sent back most often.
        let known = by_request.entry(letter.request_id()).or_insert(letter);
        if letter.redrives() > known.redrives() {
            *known = letter;
        }
    }
    let is_back = |letter: &Letter| {
        let again = by_request.get(letter.request_id())?;
        (again.redrives() > letter.redrives()).then_some(*again)
    };
    for letter in std::mem::take(&mut followed.open) {
        match is_back(&letter) {
            Some(again) => {
                followed.back.push((again.message_id.clone(), again.reason().to_owned()));
            }
            None => followed.open.push(letter),
        }
    }
    Ok(())
}

/// Waits, but not after Ctrl-C.
pub(crate) async fn rest(pause: Duration, interrupt: &Interrupt) {
    let end = Instant::now() + pause;
    while Instant::now() < end && !interrupt.is_set() {
        tokio::time::sleep(Duration::from_millis(100).min(end - Instant::now())).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::letter::tests::letter;
    use payments_table::record::Because;
    use payments_table::{Kind, Submission};

    const BODY: &str = r#"{"paymentId":"p","userId":"u","amount":"10.50"}"#;

    fn item(request: &str, body: &str) -> Option<PaymentItem> {
        Some(PaymentItem {
            request_id: request.to_owned(),
            body_md5: String::new(),
            accepted_at: String::new(),
            stored_at: String::new(),
            body: schema::json::parse_object(body).unwrap(),
        })
    }

    fn record(kind: Kind) -> Option<Record> {
        let submission = Submission {
            request_id: "r".to_owned(),
            message_id: "m".to_owned(),
            accepted_at_ms: 0,
            body_md5: String::new(),
            schema_version: 1,
        };
        let because =
            Because { kind, reason: "conflict", message: String::new(), fields: Vec::new() };
        Some(Record::new("u", Some("p"), &submission, BODY, because, 0))
    }

    #[test]
    fn letters_are_followed_until_one_fares_otherwise_than_the_others() {
        let back = |reasons: &[&str]| {
            reasons.iter().map(|reason| ("m".to_owned(), (*reason).to_owned())).collect()
        };
        let open = || vec![letter("m", BODY, &[], false)];
        for (stored, reasons, is_over, back_for) in [
            (0, &[][..], false, None),
            (0, &["throttled"], false, Some("throttled")),
            (0, &["throttled", "throttled"], false, Some("throttled")),
            (0, &["throttled", "panicked"], true, None),
            (1, &[], true, None),
            (1, &["throttled"], true, None),
        ] {
            let followed =
                Followed { stored, back: back(reasons), open: open(), ..Followed::default() };
            assert_eq!(followed.is_over(Until::Different), is_over, "{stored} {reasons:?}");
            assert_eq!(followed.back_for(), back_for);
            assert!(!followed.is_over(Until::All));
        }
    }

    #[test]
    fn an_outcome_is_known_by_the_request() {
        let letter = letter("m", BODY, &[("sub", "u"), ("requestId", "r")], false);
        let other = BODY.replace("10.50", "11");
        let spelled = BODY.replace("10.50", "10.5");
        let refused = || Outcome::Refused("conflict".to_owned());
        for (item, record, expected) in [
            (None, None, Outcome::Open),
            (None, record(Kind::Held), Outcome::Open),
            (item("r", BODY), record(Kind::Held), Outcome::Stored),
            (item("s", &spelled), None, Outcome::Duplicate),
            (item("s", &other), None, Outcome::Open),
            (item("s", &other), record(Kind::Held), Outcome::Open),
            (item("s", &other), record(Kind::Refused), refused()),
            (None, record(Kind::Refused), refused()),
        ] {
            assert_eq!(outcome(&letter, &Known { item, record }), expected);
        }
    }
}
