// The conformance scenario as a user of @stoqey/ib; run as a program of its own.
//
//     node stoqey.cjs HOST PORT CONTROL_PORT TOKEN
//
// Prints one JSON object: what the client saw, and what it reported as an error.
"use strict";

const net = require("node:net");
const { EventName, IBApi } = require("@stoqey/ib");

const [host, port, controlPort, token] = process.argv.slice(2);
// Farms are connected; the order was cancelled.
const EXPECTED = new Set([2104, 2106, 2158, 202]);
const KEPT = [
  "nextValidId", "managedAccounts", "accountSummary", "accountSummaryEnd", "contractDetails",
  "contractDetailsEnd", "tickPrice", "tickSnapshotEnd", "currentTime", "openOrder",
  "openOrderEnd", "orderStatus", "execDetails", "execDetailsEnd", "commissionReport",
  "completedOrder", "completedOrdersEnd", "position", "positionEnd", "connected", "server",
];
const errors = [];

class App {
  constructor() {
    this.calls = {};
    this.api = new IBApi({ host, port: Number(port), clientId: 3 });
    for (const name of KEPT) {
      this.api.on(EventName[name], (...values) => (this.calls[name] ??= []).push(values));
    }
    this.api.on(EventName.error, (error, code, request) => {
      if (!EXPECTED.has(code)) errors.push(`${request} ${code} ${error}`);
    });
  }

  forget(name) {
    delete this.calls[name];
  }

  async wait(name, count = 1) {
    for (let tries = 0; tries < 2000; tries++) {
      if ((this.calls[name]?.length ?? 0) >= count) return this.calls[name];
      await new Promise((done) => setTimeout(done, 5));
    }
    throw new Error(`no ${name} within 10 s; heard ${Object.keys(this.calls)}; ${errors}`);
  }

  // A round trip: all that the gateway said before has been heard.
  async settle() {
    this.forget("currentTime");
    this.api.reqCurrentTime();
    await this.wait("currentTime");
  }

  async advance(to) {
    const answer = await new Promise((done, fail) => {
      const socket = net.createConnection(Number(controlPort), "127.0.0.1");
      let text = "";
      socket.on("error", fail);
      socket.on("data", (data) => {
        text += data;
        if (text.includes("\n")) { socket.end(); done(JSON.parse(text)); }
      });
      socket.write(JSON.stringify({ token, op: "advance", to }) + "\n");
    });
    if (answer.error) throw new Error(answer.error);
    await this.settle();
  }

  async connect() {
    this.api.connect();
    await this.wait("nextValidId");
    return this;
  }
}

async function main() {
  let app = await new App().connect();
  const firstId = (await app.wait("nextValidId"))[0][0];
  const seen = {
    library: "@stoqey/ib",
    version: app.api.serverVersion,
    accounts: (await app.wait("managedAccounts"))[0][0].split(",").filter(Boolean),
    first_id: firstId,
  };
  app.api.reqAccountSummary(901, "All", "NetLiquidation");
  await app.wait("accountSummaryEnd");
  seen.summary = Object.fromEntries(
    (await app.wait("accountSummary")).map(([, , tag, value]) => [tag, value]));
  app.api.reqContractDetails(902,
    { symbol: "ALFA", secType: "STK", exchange: "SMART", currency: "USD" });
  await app.wait("contractDetailsEnd");
  const alfa = (await app.wait("contractDetails"))[0][1].contract;
  seen.contract = [alfa.conId, alfa.symbol, alfa.currency];
  await app.advance("2019-01-03T15:00:00+00:00");
  app.api.reqMktData(903, alfa, "", true, false);
  await app.wait("tickSnapshotEnd");
  const ticks = Object.fromEntries((await app.wait("tickPrice")).map(([, k, price]) => [k, price]));
  const [bid, ask] = [ticks[1], ticks[2]];
  seen.quote = [bid, ask];

  const place = async (id, shares, price, ref, tif = "DAY") => {
    app.api.placeOrder(id, alfa, {
      action: "BUY", totalQuantity: shares, orderType: "LMT",
      lmtPrice: Math.round(price * 100) / 100, tif, orderRef: ref, transmit: true,
    });
    await app.settle();
  };
  const status = async () => {
    const [, state, filled] = (await app.wait("orderStatus")).at(-1);
    return [state, filled];
  };
  await place(firstId, 3000, ask * 1.05, "conformance/big");
  seen.partial = await status();
  await app.advance("2019-01-03T19:00:00+00:00");
  seen.filled = await status();
  seen.fills = (await app.wait("execDetails"))
    .filter(([request]) => request === -1).map(([, , e]) => [e.execId, e.shares]);
  app.forget("execDetails");
  app.api.reqExecutions(904, {});
  await app.wait("execDetailsEnd");
  seen.executions = (await app.wait("execDetails")).filter(([request]) => request === 904)
    .map(([, , e]) => [e.execId, e.shares, e.price, e.orderRef]);
  seen.commissions = Object.fromEntries(
    (await app.wait("commissionReport")).map(([r]) => [r.execId, r.commission]));
  await place(firstId + 1, 10, bid * 0.8, "conformance/far");
  app.forget("openOrder");
  app.api.reqAllOpenOrders();
  await app.wait("openOrderEnd");
  seen.working = (await app.wait("openOrder")).map(([, , order]) => order.orderRef);
  app.api.cancelOrder(firstId + 1);
  await app.settle();
  seen.cancelled = (await status())[0];
  app.api.reqCompletedOrders(false);
  await app.wait("completedOrdersEnd");
  seen.completed = (await app.wait("completedOrder"))
    .map(([, order, state]) => [order.orderRef, state.status, order.filledQuantity]);
  await place(firstId + 2, 20, bid * 0.8, "conformance/rest", "GTC");
  app.api.disconnect();

  app = await new App().connect();
  app.api.reqPositions();
  await app.wait("positionEnd");
  app.api.reqOpenOrders();
  await app.wait("openOrderEnd");
  app.api.reqExecutions(905, {});
  await app.wait("execDetailsEnd");
  seen.again = {
    positions: Object.fromEntries(
      (await app.wait("position")).map(([, c, held]) => [c.symbol, held])),
    open: (await app.wait("openOrder")).map(([, , order]) => order.orderRef),
    executions: (await app.wait("execDetails")).length,
    next_id: (await app.wait("nextValidId"))[0][0],
  };
  app.api.disconnect();
  seen.errors = errors;
  console.log(JSON.stringify(seen));
  process.exit(0);
}

main().catch((error) => { console.error(error); process.exit(1); });
