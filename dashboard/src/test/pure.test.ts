import { describe, expect, test } from "vitest";
import { Problem } from "../api/errors";
import { every } from "../api/live";
import type { Mail } from "../api/mails";
import { activeCount, filtersOf, withFilter, withoutFilters } from "../pages/logs/filters";
import { merged, newer } from "../pages/logs/held";
import { parsed, withMissing } from "../pages/templates/draft";
import { asCsv } from "../ui/csv";
import { shown } from "../ui/shown";
import { ago, duration, percent } from "../ui/time";

const mail = (id: string, status = "queued"): Mail =>
  ({ id, status, outcomeUnknown: false, scheduledAt: null, lastError: null }) as Mail;

describe("what is shown of a mail", () => {
  const base = { status: "queued", outcomeUnknown: false, scheduledAt: null, lastError: null };
  test("a parked mail is unknown only until something is known", () => {
    expect(shown({ ...base, outcomeUnknown: true })).toBe("unknown");
    expect(shown({ ...base, status: "delivered", outcomeUnknown: true })).toBe("delivered");
  });
  test("a time ahead makes a queued mail a scheduled one", () => {
    const scheduledAt = "2030-01-01T00:00:00Z";
    expect(shown({ ...base, scheduledAt }, Date.parse("2029-12-31"))).toBe("scheduled");
    expect(shown({ ...base, scheduledAt }, Date.parse("2030-01-02"))).toBe("queued");
  });
  test("a reason tells canceled and suppressed from failed", () => {
    expect(shown({ ...base, status: "failed", lastError: "Canceled." })).toBe("canceled");
    expect(shown({ ...base, status: "failed", lastError: "suppressed" })).toBe("suppressed");
    expect(shown({ ...base, status: "failed", lastError: "550 No." })).toBe("failed");
  });
});

describe("filters and the address bar", () => {
  test("several statuses, and the unknown outcome beside them", () => {
    const filters = filtersOf(new URLSearchParams("status=bounced,unknown&to=a@b.c&limit=100"));
    expect(filters).toEqual({ status: ["bounced"], outcomeUnknown: true, to: "a@b.c", limit: 100 });
  });
  test("a moving range starts at a whole minute", () => {
    const now = Date.parse("2026-11-21T12:00:42Z");
    expect(filtersOf(new URLSearchParams("range=15m"), now).from).toBe("2026-11-21T11:45:00.000Z");
  });
  test("a change of a filter drops the place in the list, and clearing keeps the rest", () => {
    const search = new URLSearchParams("cursor=abc&q=x&mail=1");
    expect(withFilter(search, "q", "y").toString()).toBe("q=y&mail=1");
    expect(withoutFilters(search).toString()).toBe("mail=1");
    expect(activeCount(search)).toBe(1);
  });
});

describe("rows that are held while somebody reads", () => {
  test("statuses change in place, rows stay", () => {
    const rows = merged([mail("2"), mail("1")], [mail("3"), mail("2", "delivered"), mail("1")]);
    expect(rows.map((each) => [each.id, each.status])).toEqual([
      ["2", "delivered"],
      ["1", "queued"],
    ]);
  });
  test("new ones are counted", () => {
    expect(newer([mail("2")], [mail("4"), mail("3"), mail("2")])).toBe(2);
    expect(newer([mail("2")], [mail("2")])).toBe(0);
    expect(newer([], [mail("2")])).toBe(0);
    expect(newer([mail("2")], [mail("9"), mail("8")])).toBe(2);
  });
});

describe("polling", () => {
  const query = (state: object) =>
    ({ queryHash: "h", state: { data: 1, dataUpdatedAt: Date.now(), ...state } }) as never;
  test("slows down on errors, waits as told, stops where it is pointless", () => {
    expect(every(2000)(query({ error: null, fetchFailureCount: 0 }))).toBe(2000);
    expect(every(2000)(query({ error: null, fetchFailureCount: 2 }))).toBe(8000);
    const busy = new Problem(503, "overloaded", "Busy.", [], null, 7);
    expect(every(2000)(query({ error: busy, fetchFailureCount: 1 }))).toBe(7000);
    const gone = new Problem(404, "not_found", "Gone.");
    expect(every(2000)(query({ error: gone, fetchFailureCount: 1 }))).toBe(false);
  });
});

describe("sample variables", () => {
  test("missing ones are added where they are asked for", () => {
    expect(JSON.parse(withMissing('{"a": 1}', ["b", "c.d"]))).toEqual({
      a: 1,
      b: "b",
      c: { d: "d" },
    });
  });
  test("only an object counts", () => {
    expect(parsed("[]")).toBeNull();
    expect(parsed("{")).toBeNull();
    expect(parsed("")).toEqual({});
  });
});

describe("what is written", () => {
  test("no cell of an export runs in a spreadsheet", () => {
    const csv = asCsv([["a", (row: string) => row]], ["=1+1", 'say "hi"', "plain"]);
    expect(csv).toBe('a\r\n\'=1+1\r\n"say ""hi"""\r\nplain');
  });
  test("times and rates in words", () => {
    expect(ago(0, 65_000)).toBe("1 min ago");
    expect(ago(3_600_000, 0)).toBe("in 1 h");
    expect(duration(40)).toBe("0.04 s");
    expect(percent(0.0002)).toBe("0.02 %");
    expect(percent(null)).toBe("–");
  });
});
