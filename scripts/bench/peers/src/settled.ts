import type { SQSHandler } from "aws-lambda";
import { store } from "./payments.js";
import { serve } from "./runtime.js";

/** All payments at once. */
const handler = (async (event) => {
  const results = await Promise.allSettled(event.Records.map(store));
  const failed = event.Records.filter((_, index) => results[index].status === "rejected");
  return { batchItemFailures: failed.map((record) => ({ itemIdentifier: record.messageId })) };
}) satisfies SQSHandler;

serve(handler);
