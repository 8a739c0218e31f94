// A client that is not Python: connects to a bridge, or to the one address of all projects (MCP_URL, TOKEN), has a file
// written in each of the targets (TARGETS: JSON of project to path; the project "" for a bridge) and prints what it saw
// as one JSON document. Run by tests/test_bridge_agent.py and tests/test_router.py.
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const { MCP_URL, TOKEN, TARGETS } = process.env;
const client = new Client({ name: "story", version: "1.0.0" });
const headers = { Authorization: `Bearer ${TOKEN}` };
await client.connect(new StreamableHTTPClientTransport(new URL(MCP_URL), { requestInit: { headers } }));

const reports = [];
async function call(tool, args = {}) {
  const options = { onprogress: ({ message }) => reports.push(message), resetTimeoutOnProgress: true };
  const result = await client.callTool({ name: `opencode-${tool}`, arguments: args }, undefined, options);
  if (result.isError) throw new Error(JSON.stringify(result.content));
  return result.structuredContent;
}

const tools = (await client.listTools()).tools.length; // also makes the SDK check every answer against its schema
async function story([project, filePath]) {
  const where = project ? { project } : {};
  const { sessionId } = await call("session-create", { ...where, title: "story" });
  const directive = JSON.stringify({ filePath, content: `from TypeScript to ${project}\n` });
  const answer = await call("session-message", { ...where, sessionId, content: `[[tool:write ${directive}]]` });
  return [project, { answer, diff: await call("vcs-diff", where) }];
}

const stories = await Promise.all(Object.entries(JSON.parse(TARGETS)).map(story)); // at once
await client.close();
console.log(JSON.stringify({ tools, reports, stories: Object.fromEntries(stories) }));
