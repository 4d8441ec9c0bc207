// An OpenID provider for the tests: `oidc-provider` of npm with one page to log in, and a door for the
// test to change people, keys and answers while it runs. Prints its URL; ends with its standard input.

const http = require("http");
const path = require("path");
const { pathToFileURL } = require("url");
const crypto = require("crypto");

const modules = process.env.NODE_PATH;
const load = (name, file) => import(pathToFileURL(path.join(modules, name, file)).href);

// What everything but clients and people is kept in; new keys do not make it forget.
class Memory {
  static all = new Map();
  constructor(name) {
    this.name = name;
  }
  key(id) {
    return `${this.name}:${id}`;
  }
  async upsert(id, payload) {
    Memory.all.set(this.key(id), payload);
  }
  async find(id) {
    return Memory.all.get(this.key(id));
  }
  async findByUid(uid) {
    for (const [key, payload] of Memory.all) {
      if (key.startsWith("Session:") && payload.uid === uid) return payload;
    }
    return undefined;
  }
  async findByUserCode() {
    return undefined;
  }
  async consume(id) {
    Memory.all.get(this.key(id)).consumed = Math.floor(Date.now() / 1000);
  }
  async destroy(id) {
    Memory.all.delete(this.key(id));
  }
  async revokeByGrantId(grantId) {
    for (const [key, payload] of Memory.all) {
      if (payload.grantId === grantId) Memory.all.delete(key);
    }
  }
}

const people = new Map();
const counts = {};
const base64 = (value) => Buffer.from(typeof value === "string" ? value : JSON.stringify(value)).toString("base64url");
let jose;
let Provider;
let keys;
let issuer;
let handle;
let forge = "";

async function newKeys() {
  const make = async (alg, kid) => {
    const { privateKey } = await jose.generateKeyPair(alg, { extractable: true });
    return { ...(await jose.exportJWK(privateKey)), kid, alg, use: "sig" };
  };
  const name = crypto.randomBytes(6).toString("hex");
  keys = [await make("RS256", `r-${name}`), await make("ES256", `e-${name}`), await make("PS384", `p-${name}`)];
}

// A token of claims, signed rightly or not.
async function sign(claims, how) {
  const [first] = keys;
  const head = { alg: "RS256", kid: first.kid, typ: "JWT" };
  const payload = JSON.parse(JSON.stringify(claims));
  if (how === "none") return `${base64({ ...head, alg: "none" })}.${base64(payload)}.`;
  if (how === "hs256") {
    // The public key as the secret of a shared one, as those who believe the header would check it.
    const pem = crypto.createPublicKey({ key: first, format: "jwk" }).export({ type: "spki", format: "pem" });
    const text = `${base64({ ...head, alg: "HS256" })}.${base64(payload)}`;
    return `${text}.${crypto.createHmac("sha256", pem).update(text).digest("base64url")}`;
  }
  const stranger = how === "stranger" || how === "unknown-kid" || how === "own-key";
  const { privateKey, publicKey } = stranger
    ? await jose.generateKeyPair("RS256", { extractable: true })
    : { privateKey: await jose.importJWK(first, "RS256") };
  if (how === "unknown-kid") head.kid = crypto.randomBytes(8).toString("hex");
  if (how === "own-key") head.jwk = await jose.exportJWK(publicKey);
  if (how === "es256") {
    const second = keys[1];
    return new jose.SignJWT(payload).setProtectedHeader({ alg: "ES256", kid: second.kid }).sign(await jose.importJWK(second, "ES256"));
  }
  if (how === "ps384") {
    const third = keys[2];
    return new jose.SignJWT(payload).setProtectedHeader({ alg: "PS384", kid: third.kid }).sign(await jose.importJWK(third, "PS384"));
  }
  if (how === "crit") head.crit = ["b64"], (head.b64 = true);
  return new jose.SignJWT(payload).setProtectedHeader(head).sign(privateKey);
}

// What an attacker who sits on the way, or another client of the provider, would put in an ID token's place.
async function forged(idToken) {
  const claims = JSON.parse(Buffer.from(idToken.split(".")[1], "base64url"));
  const now = Math.floor(Date.now() / 1000);
  switch (forge) {
    case "nonce": claims.nonce = "another"; break;
    case "no-nonce": delete claims.nonce; break;
    case "aud": claims.aud = "another-client"; break;
    case "azp": claims.aud = [claims.aud, "another-client"]; claims.azp = "another-client"; break;
    case "many": claims.aud = [claims.aud, "another-client"]; break;
    case "iss": claims.iss = "https://id.example"; break;
    case "issuers": claims.iss = [claims.iss]; break;
    case "expired": claims.exp = now - 120; break;
    case "no-exp": delete claims.exp; break;
    case "exp-text": claims.exp = "never"; break;
    case "old": claims.iat = now - 3600; break;
    case "future": claims.iat = now + 3600; break;
    case "nbf": claims.nbf = now + 3600; break;
    case "sub": claims.sub = "somebody-else"; break;
    default: return sign(claims, forge);
  }
  return sign(claims, "right");
}

function provider() {
  const made = new Provider(issuer, {
    adapter: Memory,
    jwks: { keys },
    cookies: { keys: ["not a secret: a test"] },
    claims: { openid: ["sub"], profile: ["name", "preferred_username", "groups"] },
    scopes: ["openid", "profile", "offline_access"],
    clients: [
      {
        client_id: "station",
        client_secret: "station-secret-of-the-tests",
        grant_types: ["client_credentials"],
        response_types: [],
        redirect_uris: [],
      },
    ],
    features: {
      devInteractions: { enabled: false },
      clientCredentials: { enabled: true },
      rpInitiatedLogout: {
        enabled: true,
        // Its own page asks another server for a font.
        logoutSource: (ctx, form) => {
          ctx.body = `<!doctype html><title>County</title>${form}<button form="op.logoutForm" name="logout" value="yes">Yes</button>`;
        },
      },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (ctx, resource) => ({
          scope: "images.read images.store images.all",
          audience: resource,
          accessTokenTTL: 600,
          accessTokenFormat: "jwt",
        }),
      },
    },
    pkce: { required: () => true },
    issueRefreshToken: async (ctx, client) => client.grantTypeAllowed("refresh_token"),
    rotateRefreshToken: true,
    interactions: { url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    async loadExistingGrant(ctx) {
      const { client, session } = ctx.oidc;
      const grant = new ctx.oidc.provider.Grant({ clientId: client.clientId, accountId: session.accountId });
      grant.addOIDCScope("openid profile offline_access");
      await grant.save();
      return grant;
    },
    async findAccount(ctx, sub) {
      if (!people.has(sub)) return undefined;
      return { accountId: sub, claims: async () => ({ sub, ...people.get(sub) }) };
    },
  });
  made.on("server_error", (ctx, error) => console.error(error));
  made.use(async (ctx, next) => {
    await next();
    const route = ctx.oidc?.route;
    if (route) counts[route] = (counts[route] ?? 0) + 1;
    if (route === "token" && forge && ctx.body?.id_token) ctx.body.id_token = await forged(ctx.body.id_token);
  });
  return made;
}

let current;
async function start() {
  current = provider();
  handle = current.callback();
}

async function body(request) {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  return Buffer.concat(chunks).toString();
}

// What the test does behind everybody's back.
async function control(command, given) {
  switch (command) {
    case "client":
      Memory.all.set(`Client:${given.client_id}`, given);
      return {};
    case "person":
      people.set(given.sub, given.claims);
      return {};
    case "keys":
      await newKeys();
      await start();
      return {};
    case "forge":
      forge = given.how;
      return {};
    case "forget":
      for (const key of [...Memory.all.keys()]) if (key.startsWith(`${given.what}:`)) Memory.all.delete(key);
      return {};
    case "sign":
      return { token: await sign(given.claims, given.how) };
    case "flood": {
      const claims = base64({ ...given.claims });
      const one = () => base64({ alg: "RS256", kid: crypto.randomBytes(8).toString("hex") });
      return { tokens: Array.from({ length: given.count }, () => `${one()}.${claims}.${base64("signature")}`) };
    }
    case "counts":
      return counts;
    default:
      return undefined;
  }
}

async function interaction(request, response) {
  const details = await current.interactionDetails(request, response);
  if (request.method === "POST") {
    const form = new URLSearchParams(await body(request));
    const result = form.get("cancel")
      ? { error: "access_denied", error_description: "cancelled" }
      : { login: { accountId: form.get("login") } };
    await current.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    return;
  }
  response.setHeader("content-type", "text/html; charset=utf-8");
  response.end(
    `<!doctype html><title>County</title><form method="post" action="/interaction/${details.uid}">` +
      '<label>Account <input name="login" required></label><button id="enter">Log in</button>' +
      '<button id="cancel" name="cancel" value="1" formnovalidate>Cancel</button></form>',
  );
}

async function main() {
  jose = await load("jose", "dist/webapi/index.js");
  ({ Provider } = await load("oidc-provider", "lib/index.js"));
  await newKeys();
  const server = http.createServer(async (request, response) => {
    try {
      const url = new URL(request.url, issuer);
      if (url.pathname.startsWith("/control/")) {
        const text = await body(request);
        const answer = await control(url.pathname.slice("/control/".length), text ? JSON.parse(text) : {});
        response.statusCode = answer ? 200 : 404;
        response.end(JSON.stringify(answer ?? {}));
      } else if (url.pathname.startsWith("/interaction/")) {
        await interaction(request, response);
      } else {
        await handle(request, response);
      }
    } catch (error) {
      console.error(error);
      response.statusCode = 500;
      response.end(String(error));
    }
  });
  server.listen(0, "127.0.0.1", async () => {
    issuer = `http://127.0.0.1:${server.address().port}`;
    await start();
    console.log(issuer);
    // Nobody reads more than this line.
    console.log = console.info = console.error;
  });
  process.stdin.on("end", () => process.exit(0)).resume();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
