import { Button, Collapse, MultiSelect, Select, TextInput } from "@mantine/core";
import { useDebouncedCallback, useDisclosure } from "@mantine/hooks";
import { Search, SlidersHorizontal } from "lucide-react";
import { useEffect, useState } from "react";
import {
  activeCount,
  type FilterName,
  RANGES,
  STATUSES,
  withFilter,
  withoutFilters,
} from "./filters";

interface Props {
  search: URLSearchParams;
  onChange: (search: URLSearchParams, replace: boolean) => void;
}

export function FilterBar({ search, onChange }: Props) {
  const [opened, folding] = useDisclosure();
  const active = activeCount(search);
  return (
    <div className="filters">
      <Button
        className="filters-fold"
        variant="default"
        leftSection={<SlidersHorizontal size={15} aria-hidden />}
        onClick={folding.toggle}
        aria-expanded={opened}
      >
        Filters{active > 0 && ` (${active})`}
      </Button>
      <div className="filters-wide">
        <Fields search={search} onChange={onChange} active={active} />
      </div>
      <Collapse expanded={opened} className="filters-narrow">
        <Fields search={search} onChange={onChange} active={active} />
      </Collapse>
    </div>
  );
}

function Fields({ search, onChange, active }: Props & { active: number }) {
  const choose = (name: FilterName, value: string) =>
    onChange(withFilter(search, name, value), false);
  const statuses = (search.get("status") ?? "").split(",").filter(Boolean);
  return (
    <div className="filter-fields">
      <TextFilter name="q" label="Search subject" search={search} onChange={onChange} isSearch />
      <MultiSelect
        aria-label="Status"
        placeholder={statuses.length ? undefined : "Status"}
        data={STATUSES}
        value={statuses}
        onChange={(values) => choose("status", values.join(","))}
        clearable
        clearButtonProps={{ "aria-label": "Clear the status" }}
        maxValues={5}
      />
      <TextFilter name="to" label="Recipient" search={search} onChange={onChange} />
      <Select
        aria-label="Stream"
        placeholder="Stream"
        data={[
          { value: "transactional", label: "Transactional" },
          { value: "bulk", label: "Bulk" },
        ]}
        value={search.get("stream")}
        onChange={(value) => choose("stream", value ?? "")}
        clearable
        clearButtonProps={{ "aria-label": "Clear the stream" }}
      />
      <Select
        aria-label="Time"
        placeholder={search.get("from") || search.get("until") ? "Chosen time" : "Any time"}
        data={Object.entries(RANGES).map(([value, { label }]) => ({ value, label }))}
        value={search.get("range")}
        onChange={(value) => choose("range", value ?? "")}
        clearable
        clearButtonProps={{ "aria-label": "Clear the time" }}
      />
      {active > 0 && (
        <Button variant="subtle" onClick={() => onChange(withoutFilters(search), false)}>
          Clear filters
        </Button>
      )}
    </div>
  );
}

interface TextProps extends Props {
  name: "q" | "to";
  label: string;
  isSearch?: boolean;
}

/** Applied a moment after typing, without an entry in the browser's history for each letter. */
function TextFilter({ name, label, search, onChange, isSearch }: TextProps) {
  const given = search.get(name) ?? "";
  const [typed, setTyped] = useState(given);
  useEffect(() => setTyped(given), [given]);
  const apply = useDebouncedCallback(
    (value: string) => onChange(withFilter(search, name, value.trim()), true),
    250,
  );
  return (
    <TextInput
      aria-label={label}
      placeholder={label}
      value={typed}
      onChange={(event) => {
        setTyped(event.currentTarget.value);
        apply(event.currentTarget.value);
      }}
      leftSection={isSearch ? <Search size={15} aria-hidden /> : undefined}
      {...(isSearch ? { "data-search": true } : {})}
    />
  );
}
