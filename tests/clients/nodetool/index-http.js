// A compact re-creation of how the original opencode-mcp-tool (@gilby125/opencode-mcp-tool 1.1.4, which no registry has)
// is wired, in our own words, for tests/test_nodetool.py: its flags, its servers file, its token, one stateless transport
// that all requests share (hence the SDK is pinned at 1.25.2: later ones refuse that), any path, and 4 of its 12 tools.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { parseArgs } from "node:util";
import { Server } from "@modelcontextprotocol/sdk/server/index.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";
import { CallToolRequestSchema, ListToolsRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const { values: flags } = parseArgs({
  options: {
    model: { type: "string", short: "m" },
    host: { type: "string", short: "H", default: "0.0.0.0" },
    port: { type: "string", short: "p", default: "3005" },
    "bearer-token": { type: "string", short: "t", default: process.env.MCP_BEARER_TOKEN },
    "servers-config": { type: "string" },
  },
});
if (!flags.model || !flags["servers-config"]) {
  console.error("--model and --servers-config are required");
  process.exit(1);
}

function agent(name) {
  const { servers, default_server } = JSON.parse(readFileSync(flags["servers-config"], "utf8"));
  const active = servers.filter(({ status }) => status === "active");
  const found = active.find(({ id }) => id === (name ?? default_server ?? active[0]?.id));
  if (!found) throw new Error(`no active server ${name ?? ""}`);
  return found;
}

async function opencode(server, method, path, body) {
  const { url, password } = agent(server);
  const headers = {
    authorization: `Basic ${Buffer.from(`opencode:${password}`).toString("base64")}`,
    "content-type": "application/json",
  };
  const answer = await fetch(`${url}${path}`, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`OpenCode answers ${answer.status}`);
  return answer.json();
}

const text = { type: "string" };
const tools = {
  "opencode-server-health": {
    properties: {},
    run: ({ server }) => opencode(server, "GET", "/global/health"),
  },
  "opencode-session-create": {
    properties: { parentID: text },
    run: ({ server, parentID }) => opencode(server, "POST", "/session", { parentID }),
  },
  "opencode-session-list": {
    properties: {},
    run: ({ server }) => opencode(server, "GET", "/session"),
  },
  "opencode-session-message": {
    properties: { sessionId: text, content: text },
    required: ["sessionId", "content"],
    run: ({ server, sessionId, content }) =>
      opencode(server, "POST", `/session/${encodeURIComponent(sessionId)}/message`, {
        parts: [{ type: "text", text: content }],
      }),
  },
};

const mcp = new Server({ name: "opencode-mcp-tool", version: "1.1.4" }, { capabilities: { tools: {} } });
mcp.setRequestHandler(ListToolsRequestSchema, () => ({
  tools: Object.entries(tools).map(([name, { properties, required = [] }]) => ({
    name,
    description: name,
    inputSchema: { type: "object", properties: { ...properties, server: text }, required },
  })),
}));
mcp.setRequestHandler(CallToolRequestSchema, async ({ params }) => {
  try {
    const result = await tools[params.name].run(params.arguments ?? {});
    return { content: [{ type: "text", text: JSON.stringify(result) }] };
  } catch (error) {
    return { content: [{ type: "text", text: String(error.message) }], isError: true };
  }
});
const transport = new StreamableHTTPServerTransport({ sessionIdGenerator: undefined });
await mcp.connect(transport);

const token = flags["bearer-token"];
const http = createServer((request, response) => {
  if (token && request.headers.authorization !== `Bearer ${token}`) {
    response.writeHead(401, { "content-type": "application/json" });
    response.end(JSON.stringify({ error: "Unauthorized" }));
    return;
  }
  transport.handleRequest(request, response).catch(() => response.destroy());
});
http.listen(Number(flags.port), flags.host, () => console.error(`listening on ${flags.host}:${flags.port}`));
for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => http.close(() => process.exit(0)));
