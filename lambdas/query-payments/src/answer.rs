//! Reading the tables, waiting for an outcome, and the answer.

use std::time::Duration;

use function::proxy::{Context, Invalid, Request, Response};
use schema::answer::{PaymentList, PaymentStatus, Status};
use schema::text::PaymentId;
use tables::{Failure, Kind, Listing, PaymentsTable, Position, Record};
use tokio::time::Instant;

use crate::config::Config;
use crate::cursor;
use crate::outcome;
use crate::question::{Filter, Question};

/// The pause before the second look of a waiting request; each further one is half as long again, up to
/// the longest. A wait of 25 s is 20 looks, of three reads each at the most.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Nothing is known yet. Asking again comes first: a payment that was accepted needs no repetition, and a
/// new paymentId could pay twice.
const UNKNOWN: &str = "Nothing is known of this payment yet. Ask again after the seconds of Retry-After. \
                       If it stays unknown, repeat the PUT with the same paymentId, never with a new one.";

/// A table does not answer.
const UNAVAILABLE: &str = "The payments cannot be read now. Repeat the request.";

/// Answers questions from the tables.
pub struct Reader {
    config: Config,
    table: PaymentsTable,
}

/// Why there is no answer.
enum Unanswered {
    /// The client's error.
    Invalid(Invalid),
    /// A table failed.
    Failed(Failure),
}

impl From<Invalid> for Unanswered {
    fn from(invalid: Invalid) -> Self {
        Unanswered::Invalid(invalid)
    }
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Unanswered::Failed(failure)
    }
}

impl Reader {
    /// A reader of these tables.
    #[must_use]
    pub fn new(config: Config, table: PaymentsTable) -> Reader {
        Reader { config, table }
    }

    /// The answer to a request that has so much time left.
    pub async fn answer(&self, request: &Request, left: Duration) -> Response {
        let context = Context {
            allowed_origin: &self.config.allowed_origin,
            request_id: request.request_id(),
        };
        match self.found(request, context, left).await {
            Ok(response) => response,
            Err(Unanswered::Invalid(invalid)) => Response::invalid(context, invalid),
            Err(Unanswered::Failed(failure)) => {
                tracing::error!(requestId = context.request_id, %failure, "tables not read");
                Response::unavailable(context, UNAVAILABLE)
            }
        }
    }

    async fn found(
        &self,
        request: &Request,
        context: Context<'_>,
        left: Duration,
    ) -> Result<Response, Unanswered> {
        let Some(user) = request.user() else {
            tracing::error!(requestId = context.request_id, "no verified subject");
            return Ok(Response::unauthorized(context));
        };
        match Question::read(request)? {
            Question::Payment { payment_id, request_id, wait } => {
                let look = async || match &request_id {
                    None => self.payment(user, &payment_id).await,
                    Some(request_id) => self.submission(user, &payment_id, request_id).await,
                };
                let status = wait_for(wait.min(left), look).await?;
                Ok(match status {
                    Some(status) => Response::found(context, &status, request.if_none_match()),
                    // Whoever asks as soon as the batch is formed may still be a moment too early.
                    None => {
                        Response::not_found(context, UNKNOWN, self.config.batch_window_seconds + 1)
                    }
                })
            }
            Question::Payments { filter, limit, cursor } => {
                let page = self.page(user, &filter, limit, cursor.as_deref()).await?;
                Ok(Response::found(context, &page, request.if_none_match()))
            }
        }
    }

    async fn payment(
        &self,
        user: &str,
        payment_id: &PaymentId,
    ) -> Result<Option<PaymentStatus>, Failure> {
        let id = payment_id.as_str();
        let (mut item, records) =
            tokio::try_join!(self.table.payment(user, id), self.table.records(user, id))?;
        if item.is_none() && records.iter().any(|record| record.kind == Kind::Duplicate) {
            // There is a duplicate of a stored payment only: it was stored between the two reads.
            item = self.table.payment(user, id).await?;
        }
        Ok(outcome::of_payment(id, item, records))
    }

    /// What became of one submission, also where its body was filed under no paymentId.
    async fn submission(
        &self,
        user: &str,
        payment_id: &PaymentId,
        request_id: &str,
    ) -> Result<Option<PaymentStatus>, Failure> {
        let id = payment_id.as_str();
        let (item, filed, unfiled) = tokio::try_join!(
            self.table.payment(user, id),
            self.table.record_of(user, Some(id), request_id),
            self.table.record_of(user, None, request_id),
        )?;
        Ok(outcome::of_submission(id, request_id, item, filed.or(unfiled)))
    }

    async fn page(
        &self,
        user: &str,
        filter: &Filter,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<PaymentList, Unanswered> {
        let key = &self.config.cursor_key;
        let after = cursor.map(|cursor| cursor::read(key, user, filter, cursor)).transpose()?;
        let (from, to, after) = (filter.from.as_str(), filter.to.as_str(), after.as_ref());
        let listing = Listing { user_id: user, from, to, limit, after };
        let (payments, next) = match filter.status {
            Status::Stored => {
                let page = self.table.stored_page(&listing).await?;
                let stored = |(id, item): (String, _)| outcome::stored(&id, item);
                (page.items.into_iter().map(stored).collect(), page.next)
            }
            Status::Duplicate => self.on_record(&listing, Kind::Duplicate).await?,
            Status::Refused => self.on_record(&listing, Kind::Refused).await?,
            Status::Discarded => self.on_record(&listing, Kind::Discarded).await?,
            Status::Held => {
                let page = self.table.record_page(&listing, Kind::Held).await?;
                let held = self.still_held(user, page.items).await?;
                (held.into_iter().map(outcome::on_record).collect(), page.next)
            }
        };
        let cursor = next.map(|next| cursor::write(key, user, filter, &next));
        Ok(PaymentList { payments, cursor })
    }

    async fn on_record(
        &self,
        listing: &Listing<'_>,
        kind: Kind,
    ) -> Result<(Vec<PaymentStatus>, Option<Position>), Failure> {
        let page = self.table.record_page(listing, kind).await?;
        Ok((page.items.into_iter().map(outcome::on_record).collect(), page.next))
    }

    /// Without the records of submissions that are stored by now: an operator sent them back.
    async fn still_held(&self, user: &str, records: Vec<Record>) -> Result<Vec<Record>, Failure> {
        let ids: Vec<&str> =
            records.iter().filter_map(|record| record.payment_id.as_deref()).collect();
        let stored = self.table.payments(user, &ids).await?;
        let is_stored = |record: &Record| {
            let item = record.payment_id.as_ref().and_then(|id| stored.get(id));
            item.is_some_and(|item| item.request_id == record.request_id)
        };
        Ok(records.into_iter().filter(|record| !is_stored(record)).collect())
    }
}

/// Looks at once and then again with growing pauses, until there is something or the time is over.
async fn wait_for<T, E>(
    wait: Duration,
    mut look: impl AsyncFnMut() -> Result<Option<T>, E>,
) -> Result<Option<T>, E> {
    let until = Instant::now() + wait;
    let mut pause = PAUSE;
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        tokio::time::sleep(pause.min(left)).await;
        pause = (pause * 3 / 2).min(PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits so many seconds for something that is there after `ready_ms`: what came of it, when, and
    /// after how many looks.
    async fn waited(wait: u64, ready_ms: u64) -> (bool, u128, usize) {
        let started = Instant::now();
        let mut looks = 0;
        let found = wait_for(Duration::from_secs(wait), async || {
            looks += 1;
            let ready = started.elapsed() >= Duration::from_millis(ready_ms);
            Ok::<_, ()>(ready.then_some(()))
        });
        let found = found.await.unwrap().is_some();
        (found, started.elapsed().as_millis(), looks)
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_with_the_outcome_and_reads_are_bounded() {
        assert_eq!(waited(0, 1).await, (false, 0, 1));
        assert_eq!(waited(25, 0).await, (true, 0, 1));
        assert_eq!(waited(25, 90).await, (true, 100, 2));
        assert_eq!(waited(25, 26_000).await, (false, 25_000, 20));
        let (found, after, _) = waited(25, 20_000).await;
        assert!(found && (20_000..=22_000).contains(&after), "{after}");
        assert!(waited(1, 1_000).await.0, "the last look is at the end");
    }

    /// A client reads them in this order, and must not think of a new paymentId.
    #[test]
    fn what_is_unknown_is_asked_for_again_before_it_is_repeated() {
        let at = |words: &str| UNKNOWN.find(words).unwrap_or_else(|| panic!("{words}"));
        assert!(at("Ask again") < at("repeat the PUT with the same paymentId"));
        assert!(at("same paymentId") < at("never with a new one"));
    }
}
