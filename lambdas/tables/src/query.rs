//! The reads: what is known of one payment, and pages of one user's. Every read names the user, so none
//! can show a payment of somebody else.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use aws_sdk_dynamodb::operation::query::builders::QueryFluentBuilder;
use aws_sdk_dynamodb::types::KeysAndAttributes;
use function::failure::CallFailure;

use crate::failure::{Failure, Operation};
use crate::item::{self, Item, PaymentItem, text, text_of};
use crate::record::{Kind, Record, key};
use crate::table::PaymentsTable;

/// The index by user and time, on both tables.
const BY_USER: &str = "byUser";

/// The index of held records by user and time.
const HELD: &str = "held";

/// Records of one payment that are read. A client that submits more under one paymentId is broken.
pub const RECORDS_MAX: i32 = 100;

/// Payments of a page at the most: as many as one `BatchGetItem` reads.
pub const PAGE_MAX: usize = 100;

/// Records that one query looks at: those of other kinds are left out of its answer.
const RECORDS_PER_QUERY: i32 = 100;

/// Queries for one page of records. A page ends early rather than take longer.
const QUERIES_MAX: usize = 5;

/// Tries for what a `BatchGetItem` left out, and the first pause between them; each is twice the former.
const BATCHES_MAX: u32 = 4;
const BATCH_PAUSE: Duration = Duration::from_millis(25);

/// Where a page begins: behind this item, in the order of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Position {
    /// The item's time (RFC 3339, UTC, milliseconds): the index's sort key.
    pub at: String,
    /// The item's own key: the paymentId, or paymentId#requestId of a record.
    pub key: String,
}

/// What to list: items of one user, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<'a> {
    /// The user.
    pub user_id: &'a str,
    /// The first moment (RFC 3339, UTC, milliseconds).
    pub from: &'a str,
    /// The last moment.
    pub to: &'a str,
    /// Items at the most, up to [`PAGE_MAX`].
    pub limit: usize,
    /// Where the page begins; `None`: at the newest item.
    pub after: Option<&'a Position>,
}

/// A page of items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// Where the next page begins; `None` when this one is the last.
    pub next: Option<Position>,
}

impl PaymentsTable {
    /// The payment of a user, if it is stored. Strongly consistent: shows what was stored before.
    ///
    /// # Errors
    /// Any answer of the table other than the item or that there is none, no answer at all, and an item
    /// that we cannot have written.
    pub async fn payment(
        &self,
        user_id: &str,
        payment_id: &str,
    ) -> Result<Option<PaymentItem>, Failure> {
        let get = self.client.get_item().table_name(&self.payments).consistent_read(true);
        let get = get.set_key(Some(key_of(user_id, payment_id)));
        let got = get.send().await;
        let got = got.map_err(|error| Failure::of(Operation::ReadPayment, &error))?;
        got.item.map(item::read_payment).transpose()
    }

    /// What is on record of one request of a user; `payment_id` is `None` where the body had none that
    /// could be read. Strongly consistent.
    ///
    /// # Errors
    /// As [`PaymentsTable::payment`].
    pub async fn record_of(
        &self,
        user_id: &str,
        payment_id: Option<&str>,
        request_id: &str,
    ) -> Result<Option<Record>, Failure> {
        let get = self.client.get_item().table_name(&self.refusals).consistent_read(true);
        let get = get
            .key("userId", text(user_id))
            .key("paymentId#requestId", text(&key(payment_id, request_id)));
        let got = get.send().await;
        let got = got.map_err(|error| Failure::of(Operation::ReadRecords, &error))?;
        got.item.map(Record::read).transpose()
    }

    /// What is on record of a user's payment, newest first, at most [`RECORDS_MAX`]. Strongly
    /// consistent.
    ///
    /// # Errors
    /// Any answer of the table other than items, no answer at all, and a record that we cannot have written.
    pub async fn records(&self, user_id: &str, payment_id: &str) -> Result<Vec<Record>, Failure> {
        let query = self.client.query().table_name(&self.refusals).consistent_read(true);
        let query = query
            .key_condition_expression("userId = :user AND begins_with(#key, :payment)")
            .expression_attribute_names("#key", "paymentId#requestId")
            .expression_attribute_values(":user", text(user_id))
            .expression_attribute_values(":payment", text(&format!("{payment_id}#")))
            .limit(RECORDS_MAX);
        let (items, _) = sent(query, Operation::ReadRecords).await?;
        let records = items.into_iter().map(Record::read).collect::<Result<Vec<_>, _>>();
        let mut records = records?;
        records.sort_by(|one, other| other.recorded_at.cmp(&one.recorded_at));
        Ok(records)
    }

    /// A page of a user's stored payments, each with its paymentId, by the time they were accepted.
    /// Eventually consistent.
    ///
    /// # Errors
    /// As [`PaymentsTable::payment`].
    pub async fn stored_page(
        &self,
        listing: &Listing<'_>,
    ) -> Result<Page<(String, PaymentItem)>, Failure> {
        let keys =
            self.query(listing, &self.payments, BY_USER, "_acceptedAt").limit(limit_of(listing));
        let (keys, more) = sent(keys, Operation::ListPayments).await?;
        let position = |item: &Item| position(item, "_acceptedAt", "paymentId");
        let positions = keys.iter().map(position).collect::<Result<Vec<_>, Failure>>()?;
        let next = positions.last().cloned().filter(|_| more);
        let ids: Vec<&str> = positions.iter().map(|position| position.key.as_str()).collect();
        let mut found = self.payments(listing.user_id, &ids).await?;
        // In the index's order. A payment is never deleted, so each is found.
        let items = ids.iter().filter_map(|id| found.remove_entry(*id)).collect();
        Ok(Page { items, next })
    }

    /// A page of a user's records of one kind by the time they were written. Eventually consistent. It
    /// may be shorter than the limit although there are more.
    ///
    /// # Errors
    /// As [`PaymentsTable::records`].
    pub async fn record_page(
        &self,
        listing: &Listing<'_>,
        kind: Kind,
    ) -> Result<Page<Record>, Failure> {
        let (index, at) = match kind {
            Kind::Held => (HELD, "heldAt"),
            Kind::Refused | Kind::Duplicate | Kind::Discarded => (BY_USER, "recordedAt"),
        };
        let mut page = Page { items: Vec::new(), next: listing.after.cloned() };
        for _ in 0..QUERIES_MAX {
            let rest = Listing { after: page.next.as_ref(), ..listing.clone() };
            let query = self.query(&rest, &self.refusals, index, at).limit(RECORDS_PER_QUERY);
            let (items, more) = sent(query, Operation::ListRecords).await?;
            for item in items {
                let at = position(&item, at, "paymentId#requestId")?;
                let record = Record::read(item)?;
                if page.items.len() == listing.limit {
                    return Ok(page);
                }
                page.next = Some(at);
                if record.kind == kind {
                    page.items.push(record);
                }
            }
            if !more {
                page.next = None;
                return Ok(page);
            }
        }
        Ok(page)
    }

    /// Which of a user's payments are stored, by paymentId; at most [`PAGE_MAX`] are asked for.
    ///
    /// # Errors
    /// As [`PaymentsTable::payment`]; also when the table keeps leaving some out.
    pub async fn payments(
        &self,
        user_id: &str,
        payment_ids: &[&str],
    ) -> Result<HashMap<String, PaymentItem>, Failure> {
        let mut found = HashMap::new();
        // A batch must not name a key twice.
        let unique: BTreeSet<&str> = payment_ids.iter().copied().collect();
        let mut keys: Vec<Item> = unique.into_iter().map(|id| key_of(user_id, id)).collect();
        for attempt in 0..BATCHES_MAX {
            if keys.is_empty() {
                return Ok(found);
            }
            if attempt > 0 {
                tokio::time::sleep(BATCH_PAUSE * 2_u32.pow(attempt - 1)).await;
            }
            let wanted = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true);
            let wanted = wanted.build().expect("keys are given");
            let get = self.client.batch_get_item().request_items(&self.payments, wanted);
            let got = get.send().await;
            let got = got.map_err(|error| Failure::of(Operation::ListPayments, &error))?;
            for item in got.responses.into_iter().flatten().flat_map(|(_, items)| items) {
                let id = text_of(&item, "paymentId")?;
                found.insert(id, item::read_payment(item)?);
            }
            let left = got.unprocessed_keys.unwrap_or_default();
            keys = left.into_values().flat_map(|left| left.keys).collect();
        }
        if keys.is_empty() {
            return Ok(found);
        }
        let (operation, cause) = (Operation::ListPayments, CallFailure::Throttled);
        Err(Failure { operation, cause, code: Some("unprocessed keys".to_owned()) })
    }

    /// Held records of all users, in no order: some of them, and where the next ones begin. Eventually
    /// consistent.
    ///
    /// # Errors
    /// As [`PaymentsTable::records`].
    pub async fn held_records(
        &self,
        start: Option<Item>,
    ) -> Result<(Vec<Record>, Option<Item>), Failure> {
        let scan = self.client.scan().table_name(&self.refusals).index_name(HELD);
        let scan = scan.set_exclusive_start_key(start).send().await;
        let scanned = scan.map_err(|error| Failure::of(Operation::ListRecords, &error))?;
        let items = scanned.items.unwrap_or_default();
        let records = items.into_iter().map(Record::read).collect::<Result<_, _>>()?;
        Ok((records, scanned.last_evaluated_key))
    }

    /// The query of an index for a listing, in which `at` is the sort key.
    fn query(
        &self,
        listing: &Listing<'_>,
        table: &str,
        index: &str,
        at: &str,
    ) -> QueryFluentBuilder {
        let key = if table == self.payments { "paymentId" } else { "paymentId#requestId" };
        let start = |after: &Position| {
            let parts = [("userId", listing.user_id), (at, &after.at), (key, &after.key)];
            Item::from(parts.map(|(name, value)| (name.to_owned(), text(value))))
        };
        self.client
            .query()
            .table_name(table)
            .index_name(index)
            .scan_index_forward(false)
            .key_condition_expression("userId = :user AND #at BETWEEN :from AND :to")
            .expression_attribute_names("#at", at)
            .expression_attribute_values(":user", text(listing.user_id))
            .expression_attribute_values(":from", text(listing.from))
            .expression_attribute_values(":to", text(listing.to))
            .set_exclusive_start_key(listing.after.map(start))
    }
}

/// A query's items, and whether there may be more.
async fn sent(
    query: QueryFluentBuilder,
    operation: Operation,
) -> Result<(Vec<Item>, bool), Failure> {
    let answer = query.send().await.map_err(|error| Failure::of(operation, &error))?;
    Ok((answer.items.unwrap_or_default(), answer.last_evaluated_key.is_some()))
}

fn limit_of(listing: &Listing<'_>) -> i32 {
    i32::try_from(listing.limit.clamp(1, PAGE_MAX)).unwrap_or(1)
}

fn key_of(user_id: &str, payment_id: &str) -> Item {
    [("paymentId", payment_id), ("userId", user_id)]
        .map(|(name, value)| (name.to_owned(), text(value)))
        .into()
}

fn position(item: &Item, at: &'static str, key: &'static str) -> Result<Position, Failure> {
    Ok(Position { at: text_of(item, at)?, key: text_of(item, key)? })
}
