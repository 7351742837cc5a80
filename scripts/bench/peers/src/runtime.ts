import { Agent, request, type IncomingMessage } from "node:http";
import type { SQSBatchResponse, SQSEvent } from "aws-lambda";

const [host, port] = (process.env.AWS_LAMBDA_RUNTIME_API ?? "").split(":");
const agent = new Agent({ keepAlive: true });

function ask(method: string, path: string, body?: string): Promise<[IncomingMessage, string]> {
  return new Promise((resolve, reject) => {
    const asked = request({ agent, host, port, method, path: `/2018-06-01/runtime/${path}` }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => resolve([answer, Buffer.concat(chunks).toString()]));
      answer.on("error", reject);
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

/** What Lambda's Node.js runtime does: takes one event after another and answers each. */
export async function serve(handler: (event: SQSEvent) => Promise<SQSBatchResponse>): Promise<never> {
  for (;;) {
    const [next, event] = await ask("GET", "invocation/next");
    const response = JSON.stringify(await handler(JSON.parse(event)));
    await ask("POST", `invocation/${next.headers["lambda-runtime-aws-request-id"]}/response`, response);
  }
}
