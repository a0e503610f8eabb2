import { Button, Select, TextInput } from "@mantine/core";
import { notifications } from "@mantine/notifications";
import { type FormEvent, useState } from "react";
import { useMe } from "../../api/account";
import { asProblem } from "../../api/errors";
import {
  type Member,
  type Role,
  useInvite,
  useMembers,
  useRemoveMember,
  useSetRole,
} from "../../api/members";
import { useThisProject } from "../../shell/project";
import { Confirm } from "../../ui/Confirm";
import { Panel } from "../../ui/Page";
import { Failed, Loading } from "../../ui/states";
import { When } from "../../ui/When";

const ROLES: { value: Role; label: string }[] = [
  { value: "owner", label: "Owner" },
  { value: "admin", label: "Admin" },
  { value: "viewer", label: "Viewer" },
];

export function Members() {
  const project = useThisProject();
  const members = useMembers(project.id);
  const owner = project.role === "owner";
  if (members.isPending) return <Loading rows={3} />;
  if (members.error) return <Failed error={members.error} retry={() => void members.refetch()} />;
  const owners = members.data.filter((each) => each.role === "owner").length;
  return (
    <div className="stack">
      <div className="panel">
        <table className="table stacked">
          <thead>
            <tr>
              <th scope="col">Email</th>
              <th scope="col">Name</th>
              <th scope="col">Role</th>
              <th scope="col">Added</th>
              {owner && (
                <th scope="col">
                  <span className="visually-hidden">Actions</span>
                </th>
              )}
            </tr>
          </thead>
          <tbody>
            {members.data.map((member) => (
              <Row
                key={member.userId}
                member={member}
                last={member.role === "owner" && owners === 1}
              />
            ))}
          </tbody>
        </table>
      </div>
      {owner ? <Invite /> : <p className="dimmed">Only an owner can add or remove members.</p>}
    </div>
  );
}

function Row({ member, last }: { member: Member; last: boolean }) {
  const project = useThisProject();
  const me = useMe();
  const setRole = useSetRole(project.id);
  const remove = useRemoveMember(project.id);
  const [asking, setAsking] = useState(false);
  const owner = project.role === "owner";
  return (
    <tr>
      <td>
        {member.email}
        {me.data?.id === member.userId && <span className="dimmed"> · you</span>}
      </td>
      <td>{member.name ?? "–"}</td>
      <td>
        {owner && !last ? (
          <Select
            size="xs"
            w={110}
            aria-label={`Role of ${member.email}`}
            data={ROLES}
            value={member.role}
            allowDeselect={false}
            onChange={(role) =>
              role &&
              setRole.mutate(
                { userId: member.userId, role: role as Role },
                {
                  onError: (error) =>
                    notifications.show({
                      color: "red",
                      message: `Not saved: ${asProblem(error).message}`,
                    }),
                },
              )
            }
          />
        ) : (
          ROLES.find((each) => each.value === member.role)?.label
        )}
      </td>
      <td>
        <When at={member.createdAt} />
      </td>
      {owner && (
        <td className="num">
          {last ? (
            <span className="dimmed small">the last owner stays</span>
          ) : (
            <Button variant="subtle" color="gray" size="compact-sm" onClick={() => setAsking(true)}>
              Remove
            </Button>
          )}
          <Confirm
            opened={asking}
            title={`Remove ${member.email}`}
            action="Remove from the project"
            busy={remove.isPending}
            error={remove.error}
            onClose={() => setAsking(false)}
            onConfirm={() => remove.mutate(member.userId, { onSuccess: () => setAsking(false) })}
          >
            They lose access to this project at once. Their account stays.
          </Confirm>
        </td>
      )}
    </tr>
  );
}

function Invite() {
  const project = useThisProject();
  const invite = useInvite(project.id);
  const [email, setEmail] = useState("");
  const [role, setRole] = useState<Role>("viewer");
  const submit = (event: FormEvent) => {
    event.preventDefault();
    invite.mutate({ email: email.trim(), role }, { onSuccess: () => setEmail("") });
  };
  return (
    <Panel title="Add a member">
      <form onSubmit={submit} className="stack narrow">
        <TextInput
          label="Email"
          description="Of somebody who has an account on this server."
          type="email"
          required
          value={email}
          onChange={(event) => setEmail(event.currentTarget.value)}
        />
        <Select
          label="Role"
          data={ROLES}
          value={role}
          allowDeselect={false}
          onChange={(value) => value && setRole(value as Role)}
        />
        {invite.error && <Failed error={invite.error} />}
        <div>
          <Button type="submit" loading={invite.isPending}>
            Add the member
          </Button>
        </div>
      </form>
    </Panel>
  );
}
