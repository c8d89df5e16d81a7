-- Some thousand rows for the shop, the same every time.

insert into customer (name, town, credit)
select (array['Ada', 'Ben', 'Chloe', 'Dan', 'Eve', 'Finn', 'Gwen', 'Hal'])[1 + n % 8] || ' ' || n,
       (array['Aberdeen', 'Bergen', 'Cork', 'Delft', 'Esbjerg'])[1 + n % 5],
       n % 97
from generate_series(1, 500) as n;

insert into product (code, label, price, tags)
select 'P' || lpad(n::text, 4, '0'), 'Article ' || n, (n % 250) + 0.99,
       case when n % 10 = 0 then '{sale,new}'::text[] else '{}'::text[] end
from generate_series(1, 200) as n;

insert into sale (customer_id, sold_at)
select 1 + n % 500, timestamptz '2026-01-01 09:00+00' + n * interval '17 minutes'
from generate_series(1, 2000) as n;

insert into sale_line (sale_id, line, code, quantity)
select 1 + n / 3, 1 + n % 3, 'P' || lpad((1 + n * 7 % 200)::text, 4, '0'), 1 + n % 4
from generate_series(0, 5999) as n;

insert into till_log (logged_at, message)
select timestamptz '2026-01-01 09:00+00' + n * interval '1 minute', 'drawer opened'
from generate_series(1, 1000) as n;
