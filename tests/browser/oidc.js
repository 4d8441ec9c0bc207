// A person with an account of a hospital: the button in both languages and on a phone, the provider's
// page, a study by the session that follows, the logout here and at the provider.

const { artefact, http, open, run } = require("./common.js");

const [provider] = process.argv.slice(2);

function check(fine, what) {
  if (!fine) throw new Error(what);
}

run(async () => {
  for (const [locale, size] of [["zh-CN", { width: 1440, height: 900 }], ["en", { width: 390, height: 844 }]]) {
    const { browser, page, errors, foreign } = await open({ locale, viewport: size });
    await page.goto(`${http}/studies`);
    check(page.url().startsWith(`${http}/login?next=`), `nobody is at ${page.url()}`);
    check((await page.locator("input[name=password]").count()) === 0, "a password is asked for");
    const wide = await page.evaluate(
      () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
    );
    check(wide <= 1, `the login scrolls ${wide} px sideways`);
    await page.screenshot({ path: artefact(`oidc-login-${locale}.png`), fullPage: true });

    // First thoughts.
    await page.getByRole("link", { name: "County Hospital" }).click();
    await page.waitForURL(`${provider}/interaction/**`);
    await page.click("#cancel");
    await page.waitForURL(`${http}/login/oidc/county/callback?**`);
    check(await page.locator("[role=alert]").isVisible(), "a login that was cancelled is not said");
    errors.length = 0;

    await page.goto(`${http}/studies`);
    await page.getByRole("link", { name: "County Hospital" }).click();
    await page.waitForURL(`${provider}/interaction/**`);
    await page.fill("input[name=login]", "s-1");
    await page.click("#enter");
    await page.waitForURL(`${http}/studies`);
    check((await page.locator("table.studies tbody tr").count()) > 0, "no studies after the login");
    check(await page.getByText("王小东").isVisible(), "the page does not say who is logged in");
    const cookies = await page.context().cookies(http);
    const session = cookies.find((cookie) => cookie.name === "qianli");
    check(session && session.httpOnly && session.sameSite === "Lax", "the session's cookie is not strict");
    const scripts = await page.evaluate(() => document.cookie);
    check(!scripts.includes("qianli"), "a script reads the session");

    await page.click("form[action='/logout'] button");
    await page.waitForURL(`${provider}/session/end?**`);
    await page.getByRole("button", { name: /yes/i }).click();
    await page.waitForURL((url) => url.href.startsWith(`${http}/login`));
    const after = await page.request.get(`${http}/dicom-web/studies`);
    check(after.status() === 401, `after the logout: ${after.status()}`);
    await page.goto(`${http}/login/oidc/county`);
    await page.waitForURL(`${provider}/interaction/**`);
    check(await page.locator("input[name=login]").isVisible(), "the provider still knows who it was");
    const failed = errors.filter((error) => error.includes(http) && !error.includes("/dicom-web/"));
    check(failed.length === 0, `failed:\n${failed.join("\n")}`);
    const others = foreign.filter((url) => !url.startsWith(provider));
    check(others.length === 0, `asks other servers: ${others}`);
    await browser.close();
  }
  console.log("logged in at the hospital and left it");
});
