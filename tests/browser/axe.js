// Every page, looked at by axe-core: in both languages, on a desk and on a phone, by day and by night, by an administrator
// and by people without an account. Fails on a serious or critical violation of WCAG 2.2 A or AA, on sideways scrolling
// at 390 px, and on a page of the router that no step here opened.

const fs = require("fs");
const axe = require("axe-core");
const { artefact, code, http, open, run } = require("./common.js");

const [first, table] = process.argv.slice(2);
const OWN = "seven-owls-wide-4";
const TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa"];

// Answers of the router that are no pages: machines' interfaces, files, streams, pieces of a page, the viewer (which is
// not ours), and ways to another page.
const NO_PAGES = [
  /^\/api\//, /^\/static\//, /^\/(viewer|ohif)(\/|$)/, /^\/favicon\.ico$/, /^\/app-config\.js$/, /^\/audit\/export$/,
  /^\/reading\/(live|rows)$/, /^\/studies\/$/, /^\/login\/oidc\//, /\/\{project\}\/\{uid\}$/,
];

const DESK = { viewport: { width: 1440, height: 900 } };
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };
const LOOKS = [
  ["zh-CN", "desk", { ...DESK, colorScheme: "light" }],
  ["zh-CN", "phone", { ...PHONE, colorScheme: "dark" }],
  ["en", "desk", { ...DESK, colorScheme: "dark" }],
  ["en", "phone", { ...PHONE, colorScheme: "light" }],
];

const problems = new Map();
const opened = new Set();
let looked = 0;

function check(fine, what) {
  if (!fine) throw new Error(what);
}

function note(problem, where) {
  if (!problems.has(problem)) problems.set(problem, []);
  problems.get(problem).push(where);
}

// What is wrong with the page that is shown now.
async function look(page, name, look) {
  const where = `${name} ${look}`;
  opened.add(new URL(page.url()).pathname);
  await page.waitForTimeout(100);
  const wide = await page.evaluate(
    () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
  );
  if (wide > 1) note(`scrolls ${wide} px sideways`, where);
  // By the debugger, for the pages let no foreign script in.
  await page.evaluate(axe.source);
  const { violations, passes } = await page.evaluate(
    (tags) => window.axe.run(document, { runOnly: { type: "tag", values: tags } }),
    TAGS,
  );
  check(passes.length > 5, `${where}: axe found nothing to check`);
  for (const { id, impact, help, nodes } of violations) {
    for (const { target, html, any } of nodes) {
      const line = `${id} (${impact}: ${help}): ${target.join(" ")} ${html.slice(0, 160)} ${any[0]?.message ?? ""}`;
      if (impact === "serious" || impact === "critical") note(line, where);
      else console.log(`${where}: ${line}`);
    }
  }
  looked += 1;
}

async function visit(page, name, path, how, status = 200) {
  const answer = await page.goto(http + path);
  check(answer.status() === status, `${name}: HTTP ${answer.status()} at ${path}`);
  await look(page, name, how);
}

async function submit(page, button) {
  await Promise.all([page.waitForEvent("load"), button.click()]);
}

// Fills the form that goes to `action`, lists of values by their boxes, and sends it.
async function send(page, path, action, values) {
  await page.goto(http + path);
  const form = page.locator(`form[action='${action}'][method=post]`).last();
  for (const [name, value] of Object.entries(values)) {
    if (Array.isArray(value)) {
      for (const one of value) await form.locator(`[name=${name}][value=${one}]`).check();
      continue;
    }
    const field = form.locator(`[name=${name}]`);
    if ((await field.evaluate((one) => one.tagName)) === "SELECT") await field.selectOption(value);
    else await field.fill(value);
  }
  await submit(page, form.locator("button[type=submit], button:not([type])").last());
  const alert = page.locator("main [role=alert]");
  check((await alert.count()) === 0, `${action}: ${await alert.allInnerTexts()}`);
}

async function logIn(page, password) {
  await page.goto(`${http}/login`);
  await page.fill("input[name=login]", "chief");
  await page.fill("input[name=password]", password);
  await submit(page, page.locator("main button[type=submit]"));
}

// Something of everything; returns the addresses that depend on it.
async function furnish(page) {
  await logIn(page, first);
  await page.fill("input[name=current]", first);
  await page.fill("input[name=new]", OWN);
  await page.fill("input[name=again]", OWN);
  await submit(page, page.locator("form[action='/account/password'] button"));
  await logIn(page, OWN);
  await page.goto(`${http}/studies?modality=CT`);
  const study = await page.locator("main a[href^='/studies/']").first().getAttribute("href");
  check(/^\/studies\/[0-9.]+$/.test(study), `a study is at ${study}`);

  await send(page, "/people", "/people", { login: "li.si", name: "李四", role: ["reader"] });
  await send(page, "/people", "/people/invite", { role: ["reader"] });
  const invitation = await page.locator("#secret").innerText();
  await send(page, "/tokens", "/tokens", { name: "station", permission: ["read"] });
  await send(page, "/peers", "/peers", { calling: "CT1", label: "CT, ground floor" });
  await send(page, "/peers", "/peers/destinations", { title: "WARD", address: "192.0.2.10:104" });
  await send(page, "/routes", "/routes/web", { name: "centre", url: "https://dicom.example/dicom-web" });
  await send(page, "/routes", "/routes", { to: "dicom:WARD", label: "CT to the ward", modality: "CT" });
  const today = new Date().toISOString().slice(0, 10);
  await send(page, "/orders", "/orders", { patient_id: "P1", name: "Wang^XiaoDong=王^小东", modality: "CT", date: today });
  await send(page, "/reading/rules", "/reading/rules", { label: "CT", modality: "CT" });
  await send(page, `${study}/reading`, `${study}/reading`, { question: "Bleeding?", priority: "stat" });
  await page.goto(`${http}/reading`);
  const task = await page.locator("main a[href^='/reading/tasks/']").first().getAttribute("href");
  await send(page, "/reading?modality=CT", "/reading/views", { name: "CT" });
  await send(page, `${study}/share`, `${study}/share`, { tenant: "centre", purpose: "second opinion" });
  await send(page, `${study}/share`, `${study}/links`, { name: "the patient" });
  const link = await page.locator("[data-copy*='/l/']").first().getAttribute("data-copy");
  const number = await page.locator("#code").innerText();
  await page.goto(`${http}/peers`);
  const row = await page.locator("main a[href^='/peers/row/']").first().getAttribute("href");
  const path = (address) => address.replace(/^https?:\/\/[^/]+/, "");
  return { study, task, row, number, invitation: path(invitation), link: path(link) };
}

// The pages of an administrator.
function own({ study, task, row }) {
  return [
    "/", "/api", "/studies", "/studies?modality=CT&name=nobody", study, `${study}/share`, `${study}/reading`,
    "/reading", "/reading?modality=NM", task, "/reading/rules", "/orders", "/peers", row, "/peers/of/CT1",
    "/peers/destinations/WARD", "/routes", "/grants", "/shared", "/emergency", "/people", "/tokens", "/audit", "/account",
  ];
}

async function asAdministrator(context, where, places) {
  const page = await context.newPage();
  for (const path of own(places)) await visit(page, path, path, where);
  await visit(page, "an error", "/studies/1.2.3", where, 404);
  await visit(page, "an unknown address", "/nowhere", where, 404);
  // What is folded away is there as well.
  for (const path of ["/audit", "/people", "/"]) {
    await page.goto(http + path);
    await page.evaluate(() => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
    await look(page, `${path} unfolded`, where);
  }
  for (const tab of await page.locator("[role=tab]").all()) {
    await tab.click();
    await look(page, "/ next tab", where);
  }
  await page.close();
}

async function asNobody(options, where, places) {
  const { browser, page } = await open(options);
  await visit(page, "/login", "/login", where);
  await page.fill("input[name=login]", "nobody");
  await page.fill("input[name=password]", "certainly wrong");
  await submit(page, page.locator("main button[type=submit]"));
  await look(page, "/login refused", where);
  await visit(page, "/invitation", places.invitation, where);
  await visit(page, "a link", places.link, where);
  await page.fill("input[name=code]", places.number === "000000" ? "000001" : "000000");
  await submit(page, page.locator("main button"));
  await look(page, "a link, wrong code", where);
  await page.fill("input[name=code]", places.number);
  await submit(page, page.locator("main button"));
  check(/\/links\/[0-9]+$/.test(page.url()), `a link leads to ${page.url()}`);
  await look(page, "what a link shows", where);
  await page.locator("[data-series]").first().click();
  await page.locator("#stack-image").waitFor();
  await look(page, "an image of a link", where);
  await browser.close();
  const later = await open(options);
  await visit(later.page, "a link that is none", "/l/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", where, 404);
  await later.browser.close();
}

// The second factor: the page that begins it, and the one that asks for its code at the login.
async function withFactor(page) {
  await page.goto(`${http}/account`);
  await page.fill("#factor input[name=current]", OWN);
  await submit(page, page.locator("#factor button"));
  const secret = await page.locator("#secret").innerText();
  for (const [width, height] of [[1440, 900], [390, 844]]) {
    await page.setViewportSize({ width, height });
    await look(page, "a second factor", `${width} px`);
  }
  await page.fill("input[name=code]", code(secret, 0));
  await submit(page, page.locator("form[action='/account/factor/confirm'] button"));
  await look(page, "codes of a second factor", "phone");
  await page.context().clearCookies();
  await logIn(page, OWN);
  check(page.url().includes("/login/code"), `a login with a second factor is at ${page.url()}`);
  for (const [width, height] of [[1440, 900], [390, 844]]) {
    await page.setViewportSize({ width, height });
    await look(page, "the code of a login", `${width} px`);
  }
}

// The addresses that the router answers with `get`, as its source says them.
function pagesOfTheRouter() {
  const rows = fs.readFileSync(table, "utf8").split(/\bpage!\(/).slice(1);
  const pages = rows.filter((row) => /\bget\(/.test(row)).map((row) => /^\s*"([^"]+)"/.exec(row)?.[1]);
  const found = pages.filter((path) => path && !NO_PAGES.some((pattern) => pattern.test(path)));
  check(found.length > 20, `only ${found.length} pages are known`);
  return found;
}

run(async () => {
  const start = await open({ ...DESK, locale: "en" });
  const places = await furnish(start.page);
  for (const [locale, size, options] of LOOKS) {
    const where = `(${locale}, ${size}, ${options.colorScheme})`;
    const context = await start.browser.newContext({ ...options, locale });
    await context.addCookies(await start.page.context().cookies());
    await asAdministrator(context, where, places);
    await context.close();
    await asNobody({ ...options, locale }, where, places);
  }
  await withFactor(start.page);
  await start.page.screenshot({ path: artefact("axe-code.png"), fullPage: true });
  await start.browser.close();

  for (const path of pagesOfTheRouter()) {
    const pattern = new RegExp(`^${path.replace(/[.]/g, "\\.").replace(/\{\*[^}]+\}/g, ".+").replace(/\{[^}]+\}/g, "[^/]+")}$`);
    if (![...opened].some((one) => pattern.test(one))) note("no step of this test opens it", path);
  }
  console.log(`axe-core ${axe.version}: ${looked} looks at ${opened.size} addresses, ${problems.size} problems`);
  for (const [problem, places] of problems) console.log(`${problem}\n    ${places.join("\n    ")}`);
  if (problems.size > 0) throw new Error(`${problems.size} problems`);
});
