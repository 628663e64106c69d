import { useMutation, useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { type Answer, api, ask, type AuditLogEntry, type NewLink, type Role, type WorkspaceMember } from "../api/client";
import { count, moment } from "../format";
import { Columns } from "../parts/Columns";
import { useListing } from "../parts/listing";
import { Loading, Refusal } from "../parts/states";
import { useTitle } from "../parts/title";
import { UsagePanel } from "../parts/UsagePanel";
import { useMay, useSession } from "../session";

const ROLES = ["viewer", "analyst", "auditor", "admin"] as const satisfies readonly Role[];

/** Who belongs to the workspace and how they get in; what was done, for those who may read it. */
export function MembersPage() {
  useTitle("Members");
  const manages = useMay("members");
  const reads = useMay("audit-log");
  return (
    <main className="page">
      <h1>Members</h1>
      {manages ? <Members /> : <p className="lead">Only admins manage members.</p>}
      <UsagePanel />
      {reads && <AuditLog />}
    </main>
  );
}

function Members() {
  const queries = useQueryClient();
  const { items, query, more } = useListing("/v1/members");
  const [link, setLink] = useState<{ link: NewLink; of: string } | null>(null);
  const [role, setRole] = useState<Role>("analyst");
  const changed = () =>
    void queries.invalidateQueries({ predicate: ({ queryKey }) => ["/v1/members", "/v1/audit-log", "invitations"].includes(String(queryKey[0])) });
  const act = useMutation({
    mutationFn: (doing: () => Promise<Answer<unknown>>) => ask(doing()),
    onSuccess: changed,
  });
  const make = useMutation({
    mutationFn: async (member: WorkspaceMember | null) => ({
      link: await ask(
        member === null
          ? api.POST("/v1/invitations", { body: { role, days: 7 } })
          : api.POST("/v1/password-resets", { body: { user: member.user } }),
      ),
      of: member === null ? `an invitation as ${role}` : `a new password for ${member.name}`,
    }),
    onSuccess: (made) => {
      setLink(made);
      changed();
    },
  });
  return (
    <>
      <p className="lead">A link makes somebody a member or lets them choose a new password. It works once and is shown once.</p>
      <div className="pickrow spaced">
        <label>
          Role{" "}
          <select value={role} onChange={(event) => setRole(event.target.value as Role)}>
            {ROLES.map((each) => (
              <option key={each}>{each}</option>
            ))}
          </select>
        </label>
        <button type="button" className="button primary" disabled={make.isPending} onClick={() => make.mutate(null)}>
          Invite
        </button>
      </div>
      {link && <Shown {...link} />}
      {(make.isError || act.isError) && <Refusal problem={make.error ?? act.error} />}
      {query.isPending && <Loading what="members" />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {items.length > 0 && (
        <div className="table-wrap spaced">
          <table>
            <Columns names={["Name", "Role", "Since", "State", "Actions"]} />
            <tbody>
              {items.map((member) => (
                <Row
                  key={member.user}
                  member={member}
                  busy={act.isPending || make.isPending}
                  act={(doing) => act.mutate(doing)}
                  reset={() => make.mutate(member)}
                />
              ))}
            </tbody>
          </table>
        </div>
      )}
      {more}
      <Invitations busy={act.isPending} takeBack={(id) => act.mutate(() => api.DELETE("/v1/invitations/{invitation}", { params: { path: { invitation: id } } }))} />
    </>
  );
}

function Invitations({ busy, takeBack }: { busy: boolean; takeBack: (id: string) => void }) {
  const open = useQuery({ queryKey: ["invitations"], queryFn: ({ signal }) => ask(api.GET("/v1/invitations", { signal })) });
  if (!open.data || open.data.items.length === 0) return null;
  return (
    <section className="spaced" aria-labelledby="invitations-title">
      <h2 id="invitations-title">Open invitations</h2>
      <ul className="plain">
        {open.data.items.map((each) => (
          <li key={each.id}>
            as {each.role}, made {moment(each.created_at)}, open until {moment(each.expires_at)}{" "}
            <button
              type="button"
              className="button small"
              disabled={busy}
              aria-label={`Take back the invitation as ${each.role} of ${moment(each.created_at)}`}
              onClick={() => takeBack(each.id)}
            >
              Take back
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

interface RowProps {
  member: WorkspaceMember;
  busy: boolean;
  act: (doing: () => Promise<Answer<unknown>>) => void;
  reset: () => void;
}

function Row({ member, busy, act, reset }: RowProps) {
  const me = useSession().identity.user === member.user;
  const params = { path: { user: member.user } };
  const disabled = member.disabled_at != null;
  return (
    <tr>
      <th scope="row">
        {member.name}
        {me && " (you)"}
      </th>
      <td>
        <select
          aria-label={`Role of ${member.name}`}
          value={member.role}
          disabled={busy}
          onChange={(event) => {
            const role = event.target.value as Role;
            act(() => api.PUT("/v1/members/{user}/role", { params, body: { role } }));
          }}
        >
          {ROLES.map((each) => (
            <option key={each}>{each}</option>
          ))}
        </select>
      </td>
      <td>{moment(member.created_at)}</td>
      <td>{disabled ? `disabled ${moment(member.disabled_at)}` : member.has_password ? "active" : "no password yet"}</td>
      <td>
        <button
          type="button"
          className="button small"
          disabled={busy}
          aria-label={`${disabled ? "Enable" : "Disable"} ${member.name}`}
          onClick={() => act(() => (disabled ? api.POST("/v1/members/{user}/enable", { params }) : api.POST("/v1/members/{user}/disable", { params })))}
        >
          {disabled ? "Enable" : "Disable"}
        </button>{" "}
        <button type="button" className="button small" disabled={busy || disabled} aria-label={`New password for ${member.name}`} onClick={reset}>
          New password
        </button>
      </td>
    </tr>
  );
}

function Shown({ link, of }: { link: NewLink; of: string }) {
  const address = window.location.origin + link.path;
  return (
    <section className="notice spaced" role="status">
      <p>
        The link for {of}, until {moment(link.expires_at)}. Send it by a way that only they can read:
      </p>
      <pre className="command">{address}</pre>
      <button type="button" className="button" onClick={() => void navigator.clipboard.writeText(address)}>
        Copy
      </button>
    </section>
  );
}

function AuditLog() {
  const { items, query, more } = useListing("/v1/audit-log");
  const check = useQuery({
    queryKey: ["audit-log-verify"],
    queryFn: ({ signal }) => ask(api.GET("/v1/audit-log/verify", { signal })),
    enabled: false,
  });
  const told = (entry: AuditLogEntry) => Object.entries(entry.facts).map(([name, value]) => `${name} ${String(value)}`).join(", ");
  return (
    <section className="spaced" aria-labelledby="log-title">
      <div className="titlerow">
        <h2 id="log-title">Audit log</h2>
        <button type="button" className="button" disabled={check.isFetching} onClick={() => void check.refetch()}>
          Verify
        </button>
      </div>
      {check.data && (
        <p role="status">
          {check.data.intact
            ? `${count(check.data.entries)} entries, as they were written. Keep the head elsewhere: `
            : `Entry ${check.data.broken?.seq} was ${check.data.broken?.reason}: ${check.data.broken?.detail}. `}
          <span className="mono small">{check.data.head}</span>
        </p>
      )}
      {check.isError && <Refusal problem={check.error} />}
      {query.isError && <Refusal problem={query.error} retry={() => void query.refetch()} />}
      {items.length > 0 && (
        <div className="table-wrap">
          <table>
            <Columns names={["Entry", "When", "Who", "What", "On", "Facts"]} />
            <tbody>
              {items.map((entry) => (
                <tr key={entry.seq}>
                  <td className="num">{entry.seq}</td>
                  <td>{moment(entry.at)}</td>
                  <td>{entry.actor_name ?? entry.actor}</td>
                  <td>{entry.action}</td>
                  <td className="mono small">{entry.subject}</td>
                  <td className="small">{told(entry)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {more}
    </section>
  );
}
