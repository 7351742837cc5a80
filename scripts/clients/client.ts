// A client of the API, on the types that openapi-typescript generated.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./api.d.ts";

const { REMIT_API: baseUrl, REMIT_TOKEN: token, REMIT_USER: userId } = process.env;
assert(baseUrl && token && userId);

const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

const payment = (currency: string): components["schemas"]["Payment"] => ({
  paymentId: crypto.randomUUID(),
  userId,
  amount: "10.50",
  currency,
  description: "Invoice 4711",
  creditorAccount: { schemeName: "UK.OBIE.IBAN", identification: "GB33BUKB20201555555555" },
  remittanceInformation: { unstructured: ["Goods delivered"] },
  requestedExecutionDate: new Date(Date.now() + 7 * 24 * 60 * 60 * 1000).toISOString().slice(0, 10),
});

const submitted = async (body: components["schemas"]["Payment"]) => {
  const { data, error } = await client.PUT("/submit", { body });
  assert(data, JSON.stringify(error));
  return data;
};

const outcome = async (paymentId: string, requestId: string) => {
  const { data, error } = await client.GET("/payments/{paymentId}", {
    params: { path: { paymentId }, query: { requestId, wait: 25 } },
  });
  assert(data, JSON.stringify(error));
  return data;
};

// A payment is submitted, waited for and read.
const sent = payment("GBP");
const accepted = await submitted(sent);
const stored = await outcome(sent.paymentId, accepted.requestId);
assert(stored.status === "stored");
assert.equal(stored.requestId, accepted.requestId);
assert.equal(stored.bodyMd5, accepted.bodyMd5);
assert.deepEqual(stored.payment, sent);
const account: string | undefined = stored.payment.creditorAccount?.identification;
assert.equal(account, sent.creditorAccount?.identification);
const again = await submitted(sent);
assert.equal((await outcome(sent.paymentId, again.requestId)).status, "duplicate");
const page = await client.GET("/payments");
assert(page.data?.payments.some((one) => one.paymentId === sent.paymentId));

// A refusal says why.
const wrong = payment("XXX");
const { requestId } = await submitted(wrong);
const refused = await outcome(wrong.paymentId, requestId);
assert(refused.status === "refused" && refused.reason === "invalid");
assert.deepEqual(refused.fields, ["currency"]);

// Errors have their code.
const unknown = await client.GET("/payments/{paymentId}", { params: { path: { paymentId: crypto.randomUUID() } } });
assert(unknown.response.status === 404 && unknown.error && "code" in unknown.error);
assert.equal(unknown.error.code, "not_found");

// A deployed API Gateway answers 413 with a body of its own, which cannot be changed.
const tooLarge = await client.PUT("/submit", {
  body: payment("GBP"),
  fetch: async () => Response.json({ message: "Request Too Long" }, { status: 413 }),
});
assert.equal(tooLarge.error?.message, "Request Too Long");
