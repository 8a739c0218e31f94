// A client that is not Python: connects to a bridge (BRIDGE_URL, BRIDGE_TOKEN), has a file written (TARGET) and prints
// what it saw as one JSON document. Run by tests/test_bridge_agent.py.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const { BRIDGE_URL, BRIDGE_TOKEN, TARGET } = process.env;
const client = new Client({ name: "story", version: "1.0.0" });
const headers = { Authorization: `Bearer ${BRIDGE_TOKEN}` };
await client.connect(new StreamableHTTPClientTransport(new URL(`${BRIDGE_URL}/mcp`), { requestInit: { headers } }));

const reports = [];
async function call(tool, args = {}) {
  const options = { onprogress: ({ message }) => reports.push(message), resetTimeoutOnProgress: true };
  const result = await client.callTool({ name: `opencode-${tool}`, arguments: args }, undefined, options);
  if (result.isError) throw new Error(JSON.stringify(result.content));
  return result.structuredContent;
}

const tools = (await client.listTools()).tools.length; // also makes the SDK check every answer against its schema
const { sessionId } = await call("session-create", { title: "story" });
const directive = JSON.stringify({ filePath: TARGET, content: "from TypeScript\n" });
const answer = await call("session-message", { sessionId, content: `[[tool:write ${directive}]]` });
const diff = await call("vcs-diff");
await client.close();
console.log(JSON.stringify({ tools, answer, diff, reports }));
